"""Ask Stripe whether a key works, before it is saved; with STRIPE_VERIFY only.

`services.update_connection` and `create_connection` do all of it by themselves. Whoever calls them
inside a transaction of their own must have asked before it began, because an answer can take
seconds, and hands it in:

    answer = verification.ask_about(connection, changes, actor=actor)
    with transaction.atomic():
        services.update_connection(…, changes=changes, actor=actor, answer=answer)

An answer says nothing of a row: `judged` decides what it means for the row as it is under the lock.
"""

import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.utils import timezone

from config.observability.metrics import count_ask
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import Outcome, StripeConnection, Verification, mode_of
from stripe_connections.secrets.fields import UndecryptableSecretError
from stripe_connections.secrets.hints import SecretTraces
from stripe_connections.secrets.keyring import keyring
from workspaces import throttles

if TYPE_CHECKING:
    from stripe_connections.stripe_api.client import Said

logger = logging.getLogger(__name__)

# What is asked about when it changes.
ASKED_FIELDS = frozenset({"api_key", "stripe_account_id"})
# A server has 8 threads for everybody, and a slow Stripe must not take them all.
MAX_AT_ONCE = 4

_places = BoundedSemaphore(MAX_AT_ONCE)


class VerificationError(Exception):
    """Stripe's answer speaks against a change: which field of the model, a code, and why."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message


class VerificationUnavailableError(Exception):
    """It could not be told whether a key works, and it must be."""


class TooManyAttemptsError(Exception):
    """The workspace, or anybody with this key, has asked too often; `wait` is in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait


class Answer(NamedTuple):
    """What Stripe said of a key, which is told by its fingerprints under every key of the ring.

    Without a moment nobody was asked, because there was nothing to ask, or nothing to ask with.
    """

    verification: str = Verification.UNVERIFIED.value
    account_id: str | None = None
    missing_permission: str | None = None
    fingerprints: frozenset[str] = frozenset()
    at: datetime | None = None
    # HTTP's, where there was an answer.
    status: int | None = None

    @property
    def is_told(self) -> bool:
        """Whether Stripe knows the key or refuses it."""
        return self.verification != Verification.UNVERIFIED


def ask_about(
    connection: StripeConnection,
    changes: Mapping[str, Any],
    *,
    actor: Actor,
    confirms_mode: bool = False,
) -> Answer:
    """Ask about a new API key, or about a new account with the key that is stored.

    `connection` may be one that is not saved yet. Anything else is not asked about. Outside of
    any transaction only. Raises VerificationError where live and test are swapped, and
    TooManyAttemptsError.
    """
    if not settings.STRIPE_VERIFY:
        return Answer()
    _refuse_other_mode(connection, changes, confirms_mode=confirms_mode)
    account_id = changes.get("stripe_account_id", connection.stripe_account_id)
    api_key = changes.get("api_key")
    if not api_key and account_id and account_id != connection.stripe_account_id:
        api_key = _stored_key(connection)
    return _counted(connection, api_key, account_id, actor)


def ask_again(connection: StripeConnection, *, actor: Actor) -> Answer:
    """Ask about the key that is stored, whatever is known of it; as `ask_about`.

    Raises VerificationError where there is none, or none that can be read.
    """
    if connection.api_key_fingerprint is None:
        raise VerificationError("api_key", "required", "The connection has no API key.")
    api_key = _stored_key(connection)
    if api_key is None:
        raise VerificationError("api_key", "unreadable", "The stored API key cannot be read.")
    if _lacks_account(api_key, connection.stripe_account_id):
        message = "Of an organisation's key, Stripe is asked for one account, and there is none."
        raise VerificationError("stripe_account_id", "required", message)
    return _counted(connection, api_key, connection.stripe_account_id, actor)


def ask(api_key: str, account_id: str | None) -> Answer:
    """Ask whatever the limits say; for a key of an organisation, about `account_id`.

    Never in a transaction; no database is touched, so any thread can do it.
    """
    if _lacks_account(api_key, account_id):
        return Answer()
    said = _within_deadline(api_key, context_of(api_key, account_id))
    return Answer(
        said.verification.value,
        said.account_id,
        said.missing_permission,
        frozenset(keyring().fingerprints(api_key)),
        timezone.now(),
        said.status,
    )


def context_of(api_key: str, account_id: str | None) -> str | None:
    """The account that Stripe has to be told besides `api_key`, if any."""
    return account_id if _is_of_organisation(api_key) else None


def judged(
    answer: Answer,
    connection: StripeConnection,
    changes: Mapping[str, Any],
    *,
    confirms_mode: bool = False,
) -> Outcome:
    """What is known of the key of `connection` once `changes` are written to it.

    Raises VerificationError where they must not be, and VerificationUnavailableError where it
    could not be told and STRIPE_VERIFY_REQUIRED is on.
    """
    _refuse_other_mode(connection, changes, confirms_mode=confirms_mode)
    fingerprints = _fingerprints(connection, changes)
    if answer.is_told and not answer.fingerprints.isdisjoint(fingerprints):
        account_id = changes.get("stripe_account_id", connection.stripe_account_id)
        _refuse_bad(answer, account_id)
        return Outcome(answer.verification, answer.at, answer.account_id, answer.missing_permission)
    if answer.at and settings.STRIPE_VERIFY_REQUIRED:
        raise VerificationUnavailableError
    known = connection.outcome
    is_same_key = connection.api_key_fingerprint in fingerprints
    is_known = known.verification != Verification.UNVERIFIED or not answer.at
    return known if is_same_key and is_known else Outcome(at=answer.at)


def found(answer: Answer, connection: StripeConnection) -> Outcome | None:
    """What is known of the stored key of `connection` by its own `answer`; None for nothing new.

    Nothing is changed by it, so the key of another account is one that Stripe rejects here.
    """
    if not answer.is_told:
        is_known = connection.outcome.verification != Verification.UNVERIFIED
        return None if is_known else Outcome(at=answer.at)
    expected, account_id = connection.stripe_account_id, answer.account_id
    is_other = account_id and expected and account_id != expected
    verification = Verification.REJECTED.value if is_other else answer.verification
    return Outcome(verification, answer.at, account_id, answer.missing_permission)


def _refuse_other_mode(
    connection: StripeConnection, changes: Mapping[str, Any], *, confirms_mode: bool
) -> None:
    old, new = connection.mode, mode_of(SecretTraces.of(changes.get("api_key", "")).hint)
    if old and new and old != new and not confirms_mode:
        message = f"The stored key is a {old} key and this one a {new} key."
        raise VerificationError("api_key", "mode_mismatch", message)


def _refuse_bad(answer: Answer, account_id: str | None) -> None:
    if answer.verification == Verification.REJECTED:
        message = "Stripe refuses this key: it is wrong, expired or revoked."
        raise VerificationError("api_key", "rejected_by_stripe", message)
    if answer.account_id and account_id and answer.account_id != account_id:
        message = f"The API key is of {answer.account_id}, not of {account_id}."
        raise VerificationError("stripe_account_id", "account_mismatch", message)


def _fingerprints(connection: StripeConnection, changes: Mapping[str, Any]) -> Collection[str]:
    """What the key may be stored as, once `changes` are written."""
    if "api_key" in changes:
        return keyring().fingerprints(changes["api_key"])
    return [connection.api_key_fingerprint] if connection.api_key_fingerprint else []


def _stored_key(connection: StripeConnection) -> str | None:
    try:
        api_key: str | None = connection.api_key
    except UndecryptableSecretError:
        return None
    return api_key


def _counted(
    connection: StripeConnection, api_key: str | None, account_id: str | None, actor: Actor
) -> Answer:
    """Ask, if there is something to ask with.

    But for commands, which tell their own figures, it is limited, counted and logged.
    """
    if not api_key or _lacks_account(api_key, account_id):
        return Answer()
    if actor.source == Source.COMMAND:
        return ask(api_key, account_id)
    # Before the question, so that a found key cannot be tried in many workspaces, nor many found
    # keys in one.
    wait = throttles.take(
        ("stripe", f"stripe:workspace:{connection.workspace_id}"),
        ("stripe", f"stripe:key:{keyring().fingerprint(api_key)}"),
    )
    if wait is not None:
        raise TooManyAttemptsError(wait)
    started = perf_counter()
    answer = ask(api_key, account_id)
    fields = {
        "outcome": answer.verification,
        "status": answer.status,
        "duration_ms": round((perf_counter() - started) * 1000, 2),
    }
    logger.info("asked Stripe", extra={"fields": fields})
    count_ask(answer.verification)
    return answer


def _is_of_organisation(api_key: str) -> bool:
    """Whether a key opens several accounts (https://docs.stripe.com/keys#organization-api-keys)."""
    return api_key.startswith("sk_org_")


def _lacks_account(api_key: str, account_id: str | None) -> bool:
    """Whether Stripe cannot be asked, because it must be told for which account."""
    return _is_of_organisation(api_key) and not account_id


def _within_deadline(api_key: str, context: str | None) -> "Said":
    """What Stripe said, or that it said nothing in time.

    In a thread of its own: neither the look-up of a name nor an answer that comes letter by
    letter has a time-out. One that goes on keeps its place until it ends.
    """
    from stripe_connections.stripe_api import client  # noqa: PLC0415 - it is large, and seldom used

    answers: SimpleQueue[Said] = SimpleQueue()

    def run() -> None:
        try:
            answers.put(client.whose(api_key, context))
        finally:
            _places.release()

    if _places.acquire(blocking=False):
        Thread(target=run, name="ask-stripe", daemon=True).start()
        try:
            return answers.get(timeout=client.DEADLINE_SECONDS)
        except Empty:
            pass
    return client.Said()
