"""Verification of API keys with Stripe, if STRIPE_VERIFY is on.

`services.update_connection` and `create_connection` verify by themselves. A caller that opens a
transaction sends the request before, because a reply can take seconds, and passes the reply on:

    reply = verification.verify(verification.subject_of(connection, changes))
    with transaction.atomic():
        services.update_connection(…, changes=changes, actor=actor, reply=reply)

A reply is about a key, not about a row: `judged` decides what it means for the locked row. A
command sends many requests; its `Verifier` does that for it.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from time import monotonic, perf_counter, sleep
from typing import Any

from django.conf import settings
from django.utils import timezone

from config.observability import metrics
from stripe_connections.models import StripeConnection, mode_of
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.fields import UndecryptableSecretError
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api.replies import Cause, Reply, Verification
from workspaces import throttles

logger = logging.getLogger(__name__)

# A change of one of these is verified.
VERIFIED_FIELDS = frozenset({"api_key", "stripe_account_id"})
# For everything, a second attempt included.
DEADLINE_SECONDS = 6.0
# A server has 8 threads in all, and a slow Stripe must not take all of them.
MAX_AT_ONCE = 4
# Requests a second of a command; about one account it sends one a second at most.
COMMAND_RATE = 10.0
ACCOUNT_SECONDS = 1

_places = BoundedSemaphore(MAX_AT_ONCE)


class VerificationError(Exception):
    """Stripe's reply rules a change out: the model's field, a code, and the reason."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message


class VerificationUnavailableError(Exception):
    """Stripe did not say whether the key works, and the caller must know; the text says why."""


class TooManyAttemptsError(Exception):
    """Too many requests for this workspace or about this key; `wait` is in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait


@dataclass(frozen=True)
class Subject:
    """A key to verify, with the account and the workspace that it is meant for."""

    api_key: str = field(repr=False)
    account_id: str | None
    workspace_id: int

    @property
    def is_of_organization(self) -> bool:
        """Whether the key opens several accounts, so that a request has to name one.

        See https://docs.stripe.com/keys#organization-api-keys.
        """
        return self.api_key.startswith("sk_org_")

    @property
    def context(self) -> str | None:
        """The account that a request has to name, if any."""
        return self.account_id if self.is_of_organization else None


def subject_of(
    connection: StripeConnection, changes: Mapping[str, Any], *, allow_mode_change: bool = False
) -> Subject | None:
    """What must be verified before `changes` are written: a new key, or a new account.

    None if nothing must be, or nothing can be. `connection` may be unsaved. Raises a
    VerificationError if a live key would replace a test key or the other way round.
    """
    if not settings.STRIPE_VERIFY:
        return None
    _refuse_other_mode(connection, changes, allow_mode_change=allow_mode_change)
    account_id = changes.get("stripe_account_id", connection.stripe_account_id)
    api_key = changes.get("api_key")
    if not api_key and account_id and account_id != connection.stripe_account_id:
        api_key = _stored_key(connection)
    subject = Subject(api_key or "", account_id, connection.workspace_id)
    is_incomplete = not api_key or (subject.is_of_organization and not account_id)
    return None if is_incomplete else subject


def stored_subject(connection: StripeConnection) -> Subject:
    """The stored key; a VerificationError if it is missing, unreadable or needs an account."""
    if connection.api_key_fingerprint is None:
        raise VerificationError("api_key", "required", "The connection has no API key.")
    api_key = _stored_key(connection)
    if api_key is None:
        raise VerificationError("api_key", "unreadable", "The stored API key cannot be read.")
    subject = Subject(api_key, connection.stripe_account_id, connection.workspace_id)
    if subject.is_of_organization and not subject.account_id:
        message = "An organization key can only be verified together with a Stripe account ID."
        raise VerificationError("stripe_account_id", "required", message)
    return subject


def limited(subject: Subject) -> None:
    """The rate of API and admin: TooManyAttemptsError beyond THROTTLE_STRIPE.

    By workspace and by key, so that a stolen key cannot be tried in many workspaces, nor many
    stolen keys in one.
    """
    wait = throttles.take(
        ("stripe", f"stripe:workspace:{subject.workspace_id}"),
        ("stripe", f"stripe:key:{keyring().fingerprint(subject.api_key)}"),
    )
    if wait is not None:
        raise TooManyAttemptsError(wait)


def verify(
    subject: Subject | None,
    *,
    rate: Callable[[Subject], None] | None = limited,
    deadline: float | None = None,
) -> Reply:
    """Ask Stripe about a key, within `deadline` seconds. Never inside a transaction.

    `rate` is called first. Without one, the caller limits and reports the requests itself, and
    nothing is logged, counted or read from the database.
    """
    if subject is None:
        return Reply()
    if rate:
        rate(subject)
    started = perf_counter()
    reply = replace(
        _within(DEADLINE_SECONDS if deadline is None else deadline, subject),
        at=timezone.now(),
        fingerprints=frozenset(keyring().fingerprints(subject.api_key)),
    )
    if rate:
        fields = {
            "outcome": reply.verification,
            "cause": reply.cause,
            "status": reply.status,
            "duration_ms": round((perf_counter() - started) * 1000, 2),
        }
        logger.info("verification", extra={"fields": fields})
        metrics.verifications(reply.verification, reply.cause or "").inc()
    return reply


def judged(
    reply: Reply,
    connection: StripeConnection,
    changes: Mapping[str, Any],
    *,
    allow_mode_change: bool = False,
) -> Reply:
    """What is known about the key of `connection` once `changes` are written.

    Raises a VerificationError if they must not be, and VerificationUnavailableError if Stripe did
    not say so and STRIPE_VERIFY_REQUIRED is on.
    """
    _refuse_other_mode(connection, changes, allow_mode_change=allow_mode_change)
    account_id = changes.get("stripe_account_id", connection.stripe_account_id)
    fingerprints = _fingerprints(connection, changes)
    if reply.is_conclusive and not reply.fingerprints.isdisjoint(fingerprints):
        _refuse_rejected(reply, account_id)
        return reply
    if reply.at and settings.STRIPE_VERIFY_REQUIRED:
        raise VerificationUnavailableError(reply.explanation)
    unverified = Reply(at=reply.at, cause=reply.cause if not reply.is_conclusive else None)
    is_same_key = connection.api_key_fingerprint in fingerprints
    is_same = is_same_key and account_id == connection.stripe_account_id
    is_known = connection.outcome.is_conclusive or not reply.at
    return connection.outcome if is_same and is_known else unverified


def for_account(reply: Reply, account_id: str | None) -> Reply:
    """`reply` as stored with a connection of this account: another account's key is rejected."""
    if not _is_of_other_account(reply, account_id):
        return reply
    return replace(reply, verification=Verification.REJECTED.value, cause=Cause.MISMATCH.value)


class Verifier:
    """The requests of a command: each key once, a few at a time, `rate` a second."""

    def __init__(self, rate: float = COMMAND_RATE) -> None:
        self._gap = 1 / rate
        self._executor = ThreadPoolExecutor(MAX_AT_ONCE)
        # When the next request may be sent: about an account, and about any (None).
        self._free_at: dict[str | None, float] = {}
        self._sent: dict[tuple[str, str | None], Future[Reply]] = {}

    def send(self, subject: Subject) -> Future[Reply]:
        """Send a request, unless the same one was sent before."""
        name = _request_name(subject)
        if name not in self._sent:
            self._wait(subject.account_id)
            self._sent[name] = self._executor.submit(verify, subject, rate=None)
        return self._sent[name]

    def wait(self) -> None:
        """Wait for every reply. Outside any transaction."""
        wait(self._sent.values())

    def reply(self, subject: Subject) -> Reply:
        """The reply to a request, or an unverified one without `fingerprints` if none was sent."""
        sent = self._sent.get(_request_name(subject))
        return sent.result() if sent else Reply(at=timezone.now())

    def close(self) -> None:
        """Send no more; what was sent ends within seconds."""
        self._executor.shutdown(cancel_futures=True)

    def _wait(self, account_id: str | None) -> None:
        now = monotonic()
        at = max(now, *(self._free_at.get(name, 0) for name in (None, account_id)))
        sleep(at - now)
        self._free_at = {name: until for name, until in self._free_at.items() if until > at}
        self._free_at[account_id] = at + ACCOUNT_SECONDS
        self._free_at[None] = at + self._gap


def _request_name(subject: Subject) -> tuple[str, str | None]:
    """What distinguishes one request from another."""
    return keyring().fingerprint(subject.api_key), subject.account_id


def _refuse_other_mode(
    connection: StripeConnection, changes: Mapping[str, Any], *, allow_mode_change: bool
) -> None:
    old, new = connection.mode, mode_of(hint_of(changes.get("api_key", "")))
    if old and new and old != new and not allow_mode_change:
        message = f"The stored key is a {old} key and this one a {new} key."
        raise VerificationError("api_key", "mode_mismatch", message)


def _refuse_rejected(reply: Reply, account_id: str | None) -> None:
    if reply.cause == Cause.ACCOUNT_NOT_ACCESSIBLE:
        raise VerificationError("stripe_account_id", reply.cause, reply.explanation)
    if reply.verification == Verification.REJECTED:
        raise VerificationError("api_key", "rejected_by_stripe", reply.explanation)
    if reply.cause == Cause.REQUIRED_PERMISSION and settings.STRIPE_VERIFY_REQUIRED:
        message = f"{reply.explanation} Missing: {reply.missing_permission}."
        raise VerificationError("api_key", reply.cause, message)
    if _is_of_other_account(reply, account_id):
        message = f"The API key belongs to {reply.account_id}, not to {account_id}."
        raise VerificationError("stripe_account_id", "account_mismatch", message)


def _is_of_other_account(reply: Reply, account_id: str | None) -> bool:
    return bool(reply.account_id and account_id and reply.account_id != account_id)


def _fingerprints(connection: StripeConnection, changes: Mapping[str, Any]) -> Collection[str]:
    """What the key may be stored as, once `changes` are written."""
    if "api_key" in changes:
        return keyring().fingerprints(changes["api_key"])
    return [connection.api_key_fingerprint] if connection.api_key_fingerprint else []


def _stored_key(connection: StripeConnection) -> str | None:
    try:
        return connection.api_key.reveal(connection) if connection.api_key else None
    except UndecryptableSecretError:
        return None


def _within(deadline: float, subject: Subject) -> Reply:
    """Stripe's reply, or an unverified one if none comes in time.

    In a thread, because neither a DNS look-up nor a reply that arrives byte by byte has a
    time-out. The thread keeps its place until it ends, so its connection is closed.
    """
    from stripe_connections.stripe_api import client  # it is large, and seldom used

    replies: SimpleQueue[Reply] = SimpleQueue()

    def run() -> None:
        try:
            reply = request.reply()
        finally:
            # Released before the caller continues, because it may send the next request at once.
            _places.release()
        replies.put(reply)

    if deadline <= 0:
        return Reply(cause=Cause.UNREACHABLE.value)
    if not _places.acquire(blocking=False):
        return Reply(cause=Cause.BUSY.value)
    request = client.Request(subject.api_key, subject.account_id, subject.context, deadline)
    Thread(target=run, name="verify", daemon=True).start()
    try:
        return replies.get(timeout=deadline)
    except Empty:
        request.close()
        return Reply(cause=Cause.UNREACHABLE.value)
