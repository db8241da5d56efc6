"""Verification of API keys with Stripe, if STRIPE_VERIFY is on.

`services.update_connection` and `create_connection` verify by themselves. A caller that opens a
transaction sends the request before, because a reply can take seconds, and passes the reply on:

    reply = verification.verify(verification.request_of(connection, changes))
    with transaction.atomic():
        services.update_connection(…, changes=changes, actor=actor, reply=reply)

A reply is about a key, not about a row: `judged` decides what it means for the locked row. A
command sends many requests with the `Verifier` of `bulk/verifier.py`.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from time import perf_counter
from typing import Any

from django.conf import settings
from django.utils import timezone

from config.observability import metrics
from stripe_connections.models import StripeConnection, mode_of
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.fields import UndecryptableSecretError
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api.replies import Cause, Reply, Request, Verification
from workspaces import throttles

logger = logging.getLogger(__name__)

# A change of one of these is verified.
VERIFIED_FIELDS = frozenset({"api_key", "stripe_account_id"})
# For all HTTP requests about a key, second attempts included.
DEADLINE_SECONDS = 6.0
# A server has 8 threads in all, and a slow Stripe must not take all of them.
MAX_AT_ONCE = 4
# Field and code of a refusal, by the cause; any other rejection is about the key.
REFUSALS: Mapping[str, tuple[str, str]] = {
    Cause.ACCOUNT_NOT_ACCESSIBLE: ("stripe_account_id", "account_not_accessible"),
    Cause.MISMATCH: ("stripe_account_id", "account_mismatch"),
}

_places = BoundedSemaphore(MAX_AT_ONCE)


class VerificationError(Exception):
    """Stripe's reply forbids a change: the model's field, a code, and the reason."""

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


def request_of(
    connection: StripeConnection, changes: Mapping[str, Any], *, allow_mode_change: bool = False
) -> Request | None:
    """The request to send before `changes` are written: about a new key, or a new account.

    None if nothing must be verified, or nothing can be. `connection` may be unsaved. Raises a
    VerificationError if a live key would replace a test key or the other way round.
    """
    if not settings.STRIPE_VERIFY:
        return None
    _refuse_other_mode(connection, changes, allow_mode_change=allow_mode_change)
    account_id = changes.get("stripe_account_id", connection.stripe_account_id)
    api_key = changes.get("api_key")
    if not api_key and account_id and account_id != connection.stripe_account_id:
        api_key = _stored_key(connection)
    request = Request(api_key or "", account_id, connection.workspace_id)
    return request if request.is_complete else None


def stored_request(connection: StripeConnection) -> Request:
    """The stored key; a VerificationError if it is missing, unreadable or needs an account."""
    if connection.api_key_fingerprint is None:
        raise VerificationError("api_key", "required", "The connection has no API key.")
    api_key = _stored_key(connection)
    if api_key is None:
        raise VerificationError("api_key", "unreadable", "The stored API key cannot be read.")
    request = Request(api_key, connection.stripe_account_id, connection.workspace_id)
    if not request.is_complete:
        message = "An organization key can only be verified together with a Stripe account ID."
        raise VerificationError("stripe_account_id", "required", message)
    return request


def limited(request: Request) -> None:
    """The rate of API and admin: TooManyAttemptsError beyond THROTTLE_STRIPE.

    By workspace and by key, so that a stolen key cannot be tried in many workspaces, nor many
    stolen keys in one.
    """
    wait = throttles.take(
        ("stripe", f"stripe:workspace:{request.workspace_id}"),
        ("stripe", f"stripe:key:{keyring().fingerprint(request.api_key)}"),
    )
    if wait is not None:
        raise TooManyAttemptsError(wait)


def verify(
    request: Request | None,
    *,
    rate: Callable[[Request], None] | None = limited,
    deadline: float | None = None,
) -> Reply:
    """Send a request and wait for the reply, `deadline` seconds at most. Not in a transaction.

    `rate` is called first. Without one, the caller limits and reports the requests itself, and
    nothing is logged, counted or read from the database.
    """
    if request is None:
        return Reply()
    if rate:
        rate(request)
    started = perf_counter()
    reply = replace(
        _within(DEADLINE_SECONDS if deadline is None else deadline, request),
        at=timezone.now(),
        fingerprints=frozenset(keyring().fingerprints(request.api_key)),
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
        outcome = reply.for_account(account_id)
        _refuse_rejected(outcome, account_id)
        return outcome
    if reply.at and settings.STRIPE_VERIFY_REQUIRED:
        raise VerificationUnavailableError(reply.explanation)
    unverified = Reply(at=reply.at, cause=reply.cause if not reply.is_conclusive else None)
    is_same_key = connection.api_key_fingerprint in fingerprints
    is_same = is_same_key and account_id == connection.stripe_account_id
    is_known = connection.outcome.is_conclusive or not reply.at
    return connection.outcome if is_same and is_known else unverified


def _refuse_other_mode(
    connection: StripeConnection, changes: Mapping[str, Any], *, allow_mode_change: bool
) -> None:
    old, new = connection.mode, mode_of(hint_of(changes.get("api_key", "")))
    if old and new and old != new and not allow_mode_change:
        message = f"The stored key is a {old} key and this one a {new} key."
        raise VerificationError("api_key", "mode_mismatch", message)


def _refuse_rejected(outcome: Reply, account_id: str | None) -> None:
    if outcome.cause == Cause.REQUIRED_PERMISSION and settings.STRIPE_VERIFY_REQUIRED:
        message = f"{outcome.explanation} Missing: {outcome.missing_permission}."
        raise VerificationError("api_key", outcome.cause, message)
    if outcome.verification == Verification.REJECTED:
        field, code = REFUSALS.get(outcome.cause or "", ("api_key", "rejected_by_stripe"))
        raise VerificationError(field, code, outcome.rejection(account_id))


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


def _within(deadline: float, request: Request) -> Reply:
    """Stripe's reply, or an unverified one if none comes within `deadline` seconds.

    In a thread, because neither a DNS look-up nor a reply that arrives byte by byte has a
    time-out. The thread keeps its place until it ends, so its connection is closed.
    """
    from stripe_connections.stripe_api.client import Client  # it is large, and seldom used

    if deadline <= 0:
        return Reply(cause=Cause.UNREACHABLE.value)
    if not _places.acquire(blocking=False):
        return Reply(cause=Cause.BUSY.value)
    client = Client(request, deadline)
    replies: SimpleQueue[Reply] = SimpleQueue()

    def run() -> None:
        try:
            reply = client.reply()
        finally:
            # Released before the caller continues, because it may send the next request at once.
            _places.release()
        replies.put(reply)

    Thread(target=run, name="verify", daemon=True).start()
    try:
        return replies.get(timeout=deadline)
    except Empty:
        client.close()
        return Reply(cause=Cause.UNREACHABLE.value)
