"""The only writer of connections, for the API, the admin and the commands."""

import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db import connection as database

from config.observability import metrics
from stripe_connections import lock_backoff, statements
from stripe_connections.audit import records
from stripe_connections.audit.records import Actor
from stripe_connections.idempotency import IdempotencyRecord
from stripe_connections.models import (
    READ_FIELDS,
    SECRET_FIELDS,
    UPDATABLE_FIELDS,
    StripeConnection,
    StripeConnectionQuerySet,
)
from stripe_connections.secrets.columns import secret_columns
from stripe_connections.secrets.keyring import keyring
from stripe_connections.statements import Update
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import VERIFICATION_FIELDS, Reply
from workspaces.models import Workspace

# What a new key or account is until Stripe has replied.
UNVERIFIED = Reply().columns


class ConnectionNotFoundError(Exception):
    """The workspace has no connection of this business id."""


class VersionConflictError(Exception):
    """The connection is not at a version that the caller expects."""


def update_connection(
    *,
    workspace: Workspace,
    biz_id: str,
    changes: Mapping[str, Any],
    actor: Actor,
    expected_versions: Collection[int] | None = None,
    reply: Reply | None = None,
    allow_mode_change: bool = False,
) -> StripeConnection:
    """Apply `changes` to a connection of `workspace`, all of them or none.

    `changes` maps names of UPDATABLE_FIELDS to validated values; what is not in it is neither
    written nor decrypted. Without any, the connection is read and returned. With
    `expected_versions`, it must be at one of them. The given columns are written with a new
    `version` and `updated_at`, and with the audit record, by one statement (`statements.py`).

    With STRIPE_VERIFY, a new API key or account is verified first, unless the caller brings the
    `reply` (see `verification`); the reply is judged again by the locked row. `allow_mode_change`
    lets a live key replace a test key and the other way round. This raises VerificationError,
    VerificationUnavailableError and TooManyAttemptsError. Without STRIPE_VERIFY, a new key or
    account is unverified.

    Raises ConnectionNotFoundError and VersionConflictError, a ValueError for a name that is not
    updatable, a TypeError for a secret that is not text, and an OperationalError if another
    transaction keeps the row locked for LOCK_TIMEOUT_SECONDS, or has done so shortly before.
    """
    _refuse_unknown(changes)
    if not changes:
        unchanged = _stored(workspace, biz_id).only(*READ_FIELDS).first()
        return _found(unchanged, workspace, expected_versions)
    is_new = not verification.VERIFIED_FIELDS.isdisjoint(changes)
    is_verified = settings.STRIPE_VERIFY and is_new
    if is_verified and reply is None:
        before = _found(_stored(workspace, biz_id).first(), workspace, expected_versions)
        subject = verification.subject_of(before, changes, allow_mode_change=allow_mode_change)
        reply = verification.verify(subject)
    columns = _columns(workspace, biz_id, changes)
    row = (workspace.pk, biz_id)
    timeout = lock_timeout(row)
    known = UNVERIFIED if is_new else {}
    more: dict[str, tuple[str, str]] = {}
    # PostgreSQL executes a single statement in a transaction of its own. In an outer one, a refused
    # statement would abort what was done before, without a savepoint.
    is_alone = database.vendor == "postgresql" and not database.in_atomic_block and not is_verified
    try:
        with nullcontext() if is_alone else transaction.atomic():
            if is_verified and reply:
                locked = _stored(workspace, biz_id).for_update(timeout).first()
                before = _found(locked, workspace, expected_versions)
                outcome = verification.judged(
                    reply, before, changes, allow_mode_change=allow_mode_change
                )
                known, more = outcome.columns, _changed_outcome(before.outcome, outcome)
            connection = statements.execute(
                Update(row, columns | known, actor, expected_versions, timeout, more)
            )
    except OperationalError as error:
        lock_backoff.note(row, error)
        raise
    lock_backoff.unavailable_until.pop(row, None)
    if connection is None:
        is_conflict = expected_versions is not None and _stored(workspace, biz_id).exists()
        raise VersionConflictError if is_conflict else ConnectionNotFoundError
    for name, value in known.items():
        setattr(connection, name, value)
    connection.workspace = workspace
    for name in changes:
        metrics.updates(name).inc()
    return connection


def _stored(workspace: Workspace, biz_id: str) -> StripeConnectionQuerySet:
    connections: StripeConnectionQuerySet = StripeConnection.objects.all()
    return connections.filter(workspace=workspace, biz_id=biz_id)


def _columns(workspace: Workspace, biz_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that `changes` set, secrets encrypted."""
    columns: dict[str, Any] = {}
    for name, value in changes.items():
        if name in SECRET_FIELDS:
            columns |= secret_columns(workspace.pk, biz_id, name, value)
        else:
            columns[name] = value
    return columns


def create_connection(
    *,
    workspace: Workspace,
    values: Mapping[str, Any],
    actor: Actor,
    biz_id: str | None = None,
    reply: Reply | None = None,
    once: IdempotencyRecord | None = None,
) -> StripeConnection:
    """A new connection of `workspace`, saved and recorded in one transaction.

    `values` maps names of UPDATABLE_FIELDS to validated values, `connection_name` at least.
    Without a `biz_id` it gets one of its own. With STRIPE_VERIFY, an API key is verified
    as for `update_connection`. With `once`, that it was created is kept in the same transaction.

    Raises a ValueError for a name that is not updatable, a TypeError for a secret that is not
    text, and an IntegrityError where `biz_id` is taken or `once` has happened.
    """
    _refuse_unknown(values)
    connection = StripeConnection(workspace=workspace)
    if biz_id is not None:
        connection.biz_id = biz_id
    recorded = _set_verified(connection, values, reply)
    with transaction.atomic():
        connection.save(force_insert=True)
        records.record_creation(connection, recorded, actor)
        if once:
            once.remember(connection, lock_timeout())
    return connection


def create_connection_once(
    *,
    workspace: Workspace,
    values: Mapping[str, Any],
    actor: Actor,
    key: str | None,
    reply: Reply | None = None,
) -> tuple[StripeConnection, bool]:
    """As `create_connection`, where nothing was created with this `key`, if any, within a day.

    Otherwise what was, as it is now. Returns the connection, and whether it was there already.
    Raises idempotency.KeyReusedError where the `values` were others, and an OperationalError where
    a twin is under way for LOCK_TIMEOUT_SECONDS.
    """
    once = None if key is None else IdempotencyRecord.of(workspace, key, values)
    if once and (created := once.connection()):
        return created, True
    try:
        created = create_connection(
            workspace=workspace, values=values, actor=actor, reply=reply, once=once
        )
    except IntegrityError:
        # A twin that came at the same time was faster.
        if once is None or (twin := once.connection()) is None:
            raise
        return twin, True
    return created, False


def _set_verified(
    connection: StripeConnection, values: Mapping[str, Any], reply: Reply | None
) -> list[str]:
    """Set the values of a new connection and what Stripe says; returns what the audit names."""
    outcome = None
    if settings.STRIPE_VERIFY and "api_key" in values:
        if reply is None:
            reply = verification.verify(verification.subject_of(connection, values))
        outcome = verification.judged(reply, connection, values)
    for name, value in values.items():
        if name in SECRET_FIELDS:
            connection.replace_secret(name, value)
        else:
            setattr(connection, name, value)
    if outcome:
        connection.keep_outcome(outcome)
    return [*values, *(["verification"] if outcome else [])]


def verify_connection(
    *, workspace: Workspace, biz_id: str, actor: Actor, deadline: float | None = None
) -> StripeConnection:
    """Verify the stored API key within `deadline` seconds, and write nothing but the reply.

    Outside any transaction. Neither `version` nor `updated_at` changes.

    Raises ConnectionNotFoundError, a VerificationError for a key that is missing or cannot be
    read, TooManyAttemptsError, and VerificationUnavailableError if Stripe did not say whether the
    key works, or the key was replaced meanwhile; nothing is written then.
    """
    connections = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id)
    before = _found(connections.first(), workspace, None)
    reply = verification.verify(verification.stored_subject(before), deadline=deadline)
    connection = record_reply(before.pk, reply, actor)
    if connection is None:
        raise verification.VerificationUnavailableError(reply.explanation)
    return _found(connection, workspace, None)


def record_reply(pk: int, reply: Reply, actor: Actor) -> StripeConnection | None:
    """Write what Stripe said about the stored key of a connection, which is returned.

    None if nothing is written: the connection is gone, its key was replaced, or Stripe did not
    say whether it works. A changed outcome is recorded in the audit.
    """
    if not reply.is_conclusive:
        return None
    with transaction.atomic():
        connections = StripeConnection.objects.filter(pk=pk).for_update(lock_timeout())
        connection: StripeConnection | None = connections.filter(
            api_key_fingerprint__in=reply.fingerprints
        ).first()
        if connection is None:
            return None
        outcome = verification.for_account(reply, connection.stripe_account_id)
        recorded = _changed_outcome(connection.outcome, outcome)
        connection.keep_outcome(outcome)
        connection.save(update_fields=VERIFICATION_FIELDS, force_update=True)
        if recorded:
            records.record_update(connection, recorded, actor)
    return connection


def _changed_outcome(old: Reply, new: Reply) -> dict[str, tuple[str, str]]:
    """What the audit keeps of a new outcome."""
    if old.verification == new.verification:
        return {}
    return {"verification": (old.verification, new.verification)}


def reencrypt_connection(*, workspace: Workspace, biz_id: str, actor: Actor) -> bool:
    """Encrypt the secrets again that are not under the first of FERNET_KEYS.

    Returns whether there were any; a secret under the first key is left byte for byte. Hint, date
    and version stay: to those who read the connection nothing has changed, and an edit that is
    under way must not fail for it. The fingerprint is the new key's.

    Raises ConnectionNotFoundError, and UndecryptableSecretError, which leaves both secrets as
    they are.
    """
    connections = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id)
    with transaction.atomic():
        locked = connections.with_secrets().for_update(lock_timeout()).first()
        connection = _found(locked, workspace, None)
        stale = {
            name: secret.reveal(connection)
            for name in SECRET_FIELDS
            if (secret := getattr(connection, name)) and secret.position(connection) != 0
        }
        for name, secret in stale.items():
            setattr(connection, name, secret)
            setattr(connection, f"{name}_fingerprint", keyring().fingerprint(secret))
        if stale:
            columns = [column for name in stale for column in (name, f"{name}_fingerprint")]
            connection.save(update_fields=columns, force_update=True)
            log = {name: connection.shown(name) for name in stale}
            changes = {n: (h, f"{records.REENCRYPTED} {h}") for n, h in log.items()}
            records.record_update(connection, changes, actor)
    return bool(stale)


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    if unknown := values.keys() - UPDATABLE_FIELDS:
        raise ValueError(f"Not updatable: {', '.join(sorted(unknown))}.")


def lock_timeout(row: lock_backoff.Row | None = None) -> str:
    """How long a writer waits for a row that somebody else has locked.

    For one that was held a moment ago it is PostgreSQL's shortest.
    """
    is_held = row is not None and lock_backoff.unavailable_until.get(row, 0) > time.monotonic()
    seconds = 0.001 if is_held else settings.LOCK_TIMEOUT_SECONDS
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
