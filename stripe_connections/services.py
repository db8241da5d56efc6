"""The one door: every write to a connection, whoever asks for it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.utils import timezone

from config import prepared
from config.observability.metrics import count_update
from config.prepared import PreparedSelect
from stripe_connections import lock_backoff, rotation
from stripe_connections.audit import records
from stripe_connections.audit.records import Actor
from stripe_connections.idempotency import Once
from stripe_connections.models import (
    READ_FIELDS,
    SECRET_FIELDS,
    VERIFICATION_FIELDS,
    Outcome,
    StripeConnection,
)
from stripe_connections.secrets.fields import decrypted
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.verification import Answer
from workspaces.models import Workspace

UPDATABLE_FIELDS = frozenset(
    {
        "connection_name",
        "connection_description",
        "stripe_account_id",
        "api_key",
        "webhook_secret",
        "partner_endpoint",
        "config_json",
        "status",
    }
)


class ConnectionNotFoundError(Exception):
    """The workspace has no connection of this business id."""


class VersionConflictError(Exception):
    """The connection is not at a version that the caller expects."""


_lock = PreparedSelect(
    lambda workspace_id, biz_id, timeout: (
        StripeConnection.objects.for_update(timeout)
        .filter(workspace_id=workspace_id, biz_id=biz_id)
        .values_list(*READ_FIELDS)
    ),
    workspace_id=-1,
    biz_id="\0",
    timeout="\0ms",
)


def update_connection(  # noqa: PLR0913 - keywords, each with a name of its own
    *,
    workspace: Workspace,
    biz_id: str,
    changes: Mapping[str, Any],
    actor: Actor,
    expected_versions: Collection[int] | None = None,
    read: StripeConnection | None = None,
    answer: Answer | None = None,
    confirms_mode: bool = False,
) -> StripeConnection:
    """Apply `changes` to a connection of `workspace`, all of them or none.

    `changes` maps names of UPDATABLE_FIELDS to validated values; what is not in it is neither
    written nor decrypted. Without any, the connection is returned as it is. With
    `expected_versions`, it must be at one of them. `read` is the connection as the caller has
    just read it, which saves a query and is changed.

    The given columns are written with a new `version` and `updated_at`, and the audit record is
    appended, in one transaction and only where the row is still at the version that was read. If
    it is not, or nothing was read, the row is locked first.

    With STRIPE_VERIFY, Stripe is asked first about a new API key or account, unless its `answer`
    is given (see `verification`); `confirms_mode` lets a live key take a test key's place and the
    other way round. VerificationError, VerificationUnavailableError and TooManyAttemptsError are
    then raised besides.

    Raises ConnectionNotFoundError and VersionConflictError, a ValueError for a name that is not
    updatable, a TypeError for a secret that is not text, and an OperationalError where somebody
    else keeps the row locked for LOCK_TIMEOUT_SECONDS, or has done so a moment ago.
    """
    _refuse_unknown(changes)
    if not changes:
        unchanged = (
            read or StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id).first()
        )
        return _found(unchanged, workspace, expected_versions)
    is_asked = settings.STRIPE_VERIFY and not verification.ASKED_FIELDS.isdisjoint(changes)
    if is_asked and answer is None:
        stored = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id).first()
        before = _found(stored, workspace, expected_versions)
        answer = verification.ask_about(before, changes, actor=actor, confirms_mode=confirms_mode)
    row = (workspace.pk, biz_id)
    with lock_backoff.remembered(row):
        connection = (
            None if read is None or is_asked else _found(read, workspace, expected_versions)
        )
        if connection is None or not _update(connection, changes, actor):
            with transaction.atomic():
                connection = _found(_locked(row), workspace, expected_versions)
                outcome = None
                if is_asked and answer:
                    # One query, where each of these would load itself.
                    connection.refresh_from_db(fields=("api_key_fingerprint", *VERIFICATION_FIELDS))
                    outcome = verification.judged(
                        answer, connection, changes, confirms_mode=confirms_mode
                    )
                if not _update(connection, changes, actor, outcome):
                    raise RuntimeError("A locked row has changed.")
    count_update(changes)
    return connection


def _locked(row: lock_backoff.Row) -> StripeConnection | None:
    """The connection, locked for the rest of the transaction, if there is one."""
    workspace_id, biz_id = row
    values = _lock.first(workspace_id=workspace_id, biz_id=biz_id, timeout=lock_timeout(row))
    return prepared.instance(StripeConnection, READ_FIELDS, values) if values else None


def _update(
    connection: StripeConnection,
    changes: Mapping[str, Any],
    actor: Actor,
    outcome: Outcome | None = None,
) -> bool:
    """Write and record; False where the row is at another version than `connection`."""
    read_version = connection.version
    before = {name: connection.shown(name) for name in changes}
    known = outcome and connection.outcome
    columns = _set(connection, changes)
    connection.version += 1
    connection.updated_at = timezone.now()
    after = _recorded(connection, changes)
    recorded = {n: (before[n], after[n]) for n in changes}
    if outcome and known:
        recorded |= _keep_outcome(connection, known, outcome)
        columns += VERIFICATION_FIELDS
    return prepared.update_and_insert(
        connection,
        ["version", "updated_at", *columns],
        {"version": read_version},
        records.update_record(connection, recorded, actor),
        timeout=lock_timeout((connection.workspace_id, connection.biz_id)),
    )


def create_connection(  # noqa: PLR0913 - keywords, each with a name of its own
    *,
    workspace: Workspace,
    values: Mapping[str, Any],
    actor: Actor,
    biz_id: str | None = None,
    answer: Answer | None = None,
    once: Once | None = None,
) -> StripeConnection:
    """A new connection of `workspace`, saved and recorded in one transaction.

    `values` maps names of UPDATABLE_FIELDS to validated values, `connection_name` at least.
    Without a `biz_id` it gets one of its own. With STRIPE_VERIFY, Stripe is asked about an API key
    as for `update_connection`. With `once`, that it was created is kept in the same transaction.

    Raises a ValueError for a name that is not updatable, a TypeError for a secret that is not
    text, and an IntegrityError where `biz_id` is taken or `once` has happened.
    """
    _refuse_unknown(values)
    connection = StripeConnection(workspace=workspace)
    if biz_id is not None:
        connection.biz_id = biz_id
    recorded = _set_asked(connection, values, actor, answer)
    with transaction.atomic():
        connection.save(force_insert=True)
        records.record_creation(connection, recorded, actor)
        if once:
            once.remember(connection, lock_timeout())
    return connection


def create_connection_once(
    *, workspace: Workspace, values: Mapping[str, Any], actor: Actor, key: str | None
) -> tuple[StripeConnection, bool]:
    """As `create_connection`, where nothing was created with this `key`, if any, within a day.

    Otherwise what was, as it is now. Returns the connection, and whether it was there already.
    Raises idempotency.KeyReusedError where the `values` were others, and an OperationalError where
    a twin is under way for LOCK_TIMEOUT_SECONDS.
    """
    if key is None:
        return create_connection(workspace=workspace, values=values, actor=actor), False
    once = Once.of(workspace, key, values)
    if created := once.connection():
        return created, True
    try:
        return create_connection(workspace=workspace, values=values, actor=actor, once=once), False
    except IntegrityError:
        # A twin that came at the same time was faster.
        created = once.connection()
        if created is None:
            raise
    return created, True


def _set_asked(
    connection: StripeConnection, values: Mapping[str, Any], actor: Actor, answer: Answer | None
) -> dict[str, Any]:
    """Set the values of a new connection and what Stripe says; returns what the audit keeps."""
    outcome = None
    if settings.STRIPE_VERIFY and "api_key" in values:
        if answer is None:
            answer = verification.ask_about(connection, values, actor=actor)
        outcome = verification.judged(answer, connection, values)
    _set(connection, values)
    recorded = _recorded(connection, values)
    if outcome:
        connection.keep_outcome(outcome)
        recorded["verification"] = outcome.verification
    return recorded


def verify_connection(*, workspace: Workspace, biz_id: str, actor: Actor) -> StripeConnection:
    """Ask Stripe about the stored API key, and keep nothing but what it says.

    Outside of any transaction only. Neither `version` nor `updated_at` change.

    Raises ConnectionNotFoundError, a VerificationError for a key that is missing or cannot be
    read, TooManyAttemptsError, and VerificationUnavailableError where it could not be told; what
    was known of this key then stays.
    """
    connections = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id)
    before = _found(connections.first(), workspace, None)
    answer = verification.ask_again(before, actor=actor)
    connection = record_answer(before.pk, answer, actor)
    if connection is None or not answer.is_told:
        raise verification.VerificationUnavailableError
    return _found(connection, workspace, None)


def record_answer(pk: int, answer: Answer, actor: Actor) -> StripeConnection | None:
    """Keep what Stripe said of the stored key of a connection, which is returned.

    None where nothing is kept: the connection is gone, has another key by now, or Stripe could
    not tell and more is known already. A changed outcome is recorded in the records.
    """
    with transaction.atomic():
        connections = StripeConnection.objects.filter(pk=pk).for_update(lock_timeout())
        connection: StripeConnection | None = connections.filter(
            api_key_fingerprint__in=answer.fingerprints
        ).first()
        outcome = verification.found(answer, connection) if connection else None
        if connection is None or outcome is None:
            return None
        recorded = _keep_outcome(connection, connection.outcome, outcome)
        connection.save(update_fields=VERIFICATION_FIELDS, force_update=True)
        if recorded:
            prepared.insert(records.update_record(connection, recorded, actor))
    return connection


def _keep_outcome(
    connection: StripeConnection, known: Outcome, outcome: Outcome
) -> dict[str, tuple[str, str]]:
    """Set the outcome without saving; returns what the audit keeps of it."""
    connection.keep_outcome(outcome)
    old, new = known.verification, connection.outcome.verification
    return {} if old == new else {"verification": (old, new)}


def reencrypt_connection(*, workspace: Workspace, biz_id: str, actor: Actor) -> bool:
    """Encrypt the secrets again that are not under the first of FERNET_KEYS.

    Returns whether there were any; a secret under the first key is left byte for byte. Hint, date
    and version stay: to those who read the connection nothing has changed, and an edit that is
    under way must not fail for it. The fingerprint is the new key's, also that of what Stripe said.

    Raises ConnectionNotFoundError, and UndecryptableSecretError, which leaves both secrets as
    they are.
    """
    ring = keyring()
    connections = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id)
    with transaction.atomic():
        locked = connections.with_tokens().for_update(lock_timeout()).first()
        connection = _found(locked, workspace, None)
        tokens = {name: getattr(connection, f"{name}_token") for name in SECRET_FIELDS}
        stale = {
            name: decrypted(name, token)
            for name, token in tokens.items()
            if token is not None and ring.position_of(token) != 0
        }
        is_asked = connection.verification_fingerprint == connection.api_key_fingerprint
        for name, secret in stale.items():
            setattr(connection, name, secret)
            setattr(connection, f"{name}_fingerprint", ring.fingerprint(secret))
        if is_asked:
            connection.verification_fingerprint = connection.api_key_fingerprint
        if stale:
            columns = [column for name in stale for column in (name, f"{name}_fingerprint")]
            columns.append("verification_fingerprint")
            connection.save(update_fields=columns, force_update=True)
            log = {name: connection.shown(name) for name in stale}
            changes = {n: (h, f"{records.REENCRYPTED} {h}") for n, h in log.items()}
            prepared.insert(records.update_record(connection, changes, actor))
    return bool(stale)


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    if unknown := values.keys() - UPDATABLE_FIELDS:
        raise ValueError(f"Not updatable: {', '.join(sorted(unknown))}.")


def _set(connection: StripeConnection, values: Mapping[str, Any]) -> list[str]:
    """Set `values` without saving; returns the columns that this touches."""
    columns: list[str] = []
    for name, value in values.items():
        if name in SECRET_FIELDS:
            columns += connection.replace_secret(name, value)
        else:
            setattr(connection, name, value)
            columns.append(name)
    return columns


def _recorded(connection: StripeConnection, names: Iterable[str]) -> dict[str, Any]:
    """What the audit keeps of the fields that were set."""
    values = {name: connection.shown(name) for name in names}
    return values | {
        name: f"{records.REPLACED} {values[name]}" for name in SECRET_FIELDS if name in values
    }


def lock_timeout(row: lock_backoff.Row | None = None) -> str:
    """How long a writer waits for a row that somebody else has locked.

    For one that was held a moment ago it is PostgreSQL's shortest.
    """
    seconds = 0.001 if lock_backoff.is_held(row) else settings.LOCK_TIMEOUT_SECONDS
    return f"{seconds * 1000:.0f}ms"


def _found(
    connection: StripeConnection | None,
    workspace: Workspace,
    expected_versions: Collection[int] | None,
) -> StripeConnection:
    if connection is None:
        raise ConnectionNotFoundError
    if expected_versions is not None and connection.version not in expected_versions:
        raise VersionConflictError
    # The caller has it already, with its tenant.
    connection.workspace = workspace
    return connection


def reencrypt_connections(
    pks: Sequence[int], *, actor: Actor, is_dry_run: bool = False
) -> rotation.Reencryption:
    """Bring the secrets of these connections under the first of FERNET_KEYS.

    What is there already is left byte for byte, and so is what no key can read. Neither `version`
    nor `updated_at` nor the hints change, because nothing that anybody sees does: a client's
    `If-Match` still matches. The fingerprints, which are under a key of the first key, do.

    All in one transaction, with one audit record. A row that somebody else holds or has changed
    meanwhile is `held` and not touched.
    """
    found = rotation.Reencryption()
    # SQLite locks the whole database and not a row, so nothing is locked there until all is
    # encrypted; a row that has changed by then is recognised by its old tokens.
    locks_rows = database.features.has_select_for_update_skip_locked and not is_dry_run
    with transaction.atomic() if locks_rows else nullcontext():
        renewals = rotation.renewals(rotation.read(pks, locks_rows=locks_rows), found)
        if is_dry_run:
            found.changed = [renewal.pk for renewal in renewals]
        elif renewals:
            with transaction.atomic(savepoint=False):
                found.changed = rotation.write(renewals)
                records.record_reencryption(found.changed, actor)
    found.held = sorted({*pks}.difference(found.changed, found.unchanged, found.unreadable))
    return found
