"""The service layer, which changes connections for the API, the admin and the commands.

Besides it, only `bulk/rotation.py` writes them: the same secrets, encrypted again.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from config.observability import metrics
from stripe_connections import statements
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
from stripe_connections.secrets.columns import digest_of, secret_columns
from stripe_connections.statements import Update
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import VERIFICATION_FIELDS, Reply
from stripe_connections.stripe_api.verification import VERIFIED_FIELDS
from stripe_connections.undo import leaks, replaced
from workspaces.models import Workspace


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
    is_restore: bool = False,
    keep_seconds: int = 0,
    savepoint: bool = True,
) -> StripeConnection:
    """Apply `changes` to a connection of `workspace`, all of them or none.

    `changes` maps names of UPDATABLE_FIELDS to validated values; other columns are neither written
    nor decrypted. If it is empty, the connection is read and returned. With `expected_versions`,
    the connection must be at one of them.

    With STRIPE_VERIFY, a new API key or account is verified first, unless the caller passes the
    `reply` (see `verification`). `allow_mode_change` lets a live key replace a test key and the
    other way round. A secret that is replaced is kept for SECRET_UNDO_DAYS; with `is_restore`, the
    record says that the new ones are restored. A replaced webhook secret verifies events for
    `keep_seconds` more. Without a `savepoint`, an error aborts the transaction of the caller, as
    with Django's `atomic`.

    Raises ConnectionNotFoundError, VersionConflictError, a LeakedSecretError for a secret that was
    reported as leaked, the errors of `verification`, a ValueError for a name that is not updatable,
    a TypeError for a secret that is not text, and an OperationalError if another transaction keeps
    the row locked for LOCK_TIMEOUT_SECONDS, or has done so shortly before.
    """
    _refuse_unknown(changes)
    # Called only if needed: a query that is not executed would be a twelfth of an update's CPU.
    stored = partial(_stored, workspace, biz_id)
    if not changes:
        return _checked(stored().only(*READ_FIELDS).first(), expected_versions)
    is_verified = settings.STRIPE_VERIFY and not VERIFIED_FIELDS.isdisjoint(changes)
    if is_verified and reply is None:
        before = _checked(stored().first(), expected_versions)
        request = verification.request_of(before, changes, allow_mode_change=allow_mode_change)
        reply = verification.verify(request)
    row = (workspace.pk, biz_id)
    columns, digests = _columns(workspace, biz_id, changes)
    kept = _kept(changes, keep_seconds) if digests else {}
    if kept and monotonic() >= replaced.expired_rows.due_at:
        replaced.expired_rows.delete()
    timeout = statements.lock_timeout(row)
    more: dict[str, tuple[str, str]] = {}
    # PostgreSQL executes a single statement in a transaction of its own. In an outer one, a refused
    # statement would abort what was done before, without a savepoint.
    database = transaction.get_connection()
    is_alone = database.vendor == "postgresql" and not database.in_atomic_block and not is_verified
    is_inside = is_alone or not savepoint
    with statements.backoff(row), nullcontext() if is_inside else transaction.atomic():
        if is_verified and reply:
            before = _checked(stored().for_update(timeout).first(), expected_versions)
            outcome = verification.judged(
                reply, before, changes, allow_mode_change=allow_mode_change
            )
            columns |= outcome.columns
            more = _changed_outcome(before.outcome, outcome)
        connection = statements.execute(
            Update(
                row, columns, actor, expected_versions, timeout, more, kept, digests,
                records.RESTORED if is_restore else records.REPLACED,
            )
        )  # fmt: skip
    if connection is None:
        if expected_versions is None and not digests:
            raise ConnectionNotFoundError
        _checked(stored().first(), expected_versions)
        leaks.refuse_leaked(changes)
        raise VersionConflictError
    connection.workspace = workspace
    for name in changes:
        metrics.updates(name).inc()
    return connection


def _stored(workspace: Workspace, biz_id: str) -> StripeConnectionQuerySet:
    # Its connection has this workspace, which the caller has loaded with its tenant.
    return cast("StripeConnectionQuerySet", workspace.connections.filter(biz_id=biz_id))


def _columns(
    workspace: Workspace, biz_id: str, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The columns to write, secrets encrypted, and the digests of the secrets."""
    columns: dict[str, Any] = {}
    digests = {}
    for name, value in changes.items():
        if name in SECRET_FIELDS:
            columns |= secret_columns(workspace.pk, biz_id, name, value)
            digests[f"{name}_digest"] = digest_of(value)
        else:
            columns[name] = value
    return columns, digests


def _kept(changes: Mapping[str, Any], keep_seconds: int) -> dict[str, datetime]:
    """The replaced secrets to keep, and until when each is still valid."""
    seconds = {"api_key": 0, "webhook_secret": keep_seconds}
    names = [n for n in seconds if n in changes and (settings.SECRET_UNDO_DAYS or seconds[n])]
    return {name: timezone.now() + timedelta(seconds=seconds[name]) for name in names}


def restore_secret(
    *,
    workspace: Workspace,
    biz_id: str,
    name: str,
    actor: Actor,
    expected_versions: Collection[int] | None = None,
    version: int | None = None,
) -> StripeConnection:
    """Write back the secret `name` that was replaced last, or that `version` replaced.

    As `update_connection`, which verifies the secret and keeps the one that it replaces. A key of
    the other mode is restored, too. Raises a RestoreError if there is no such secret, and a
    VersionConflictError also if the connection is changed in the meantime.
    """
    before = _checked(_stored(workspace, biz_id).first(), expected_versions)
    restored = update_connection(
        workspace=workspace,
        biz_id=biz_id,
        changes={name: replaced.secret_to_restore(before, name, version)},
        actor=actor,
        expected_versions={before.version},
        allow_mode_change=True,
        is_restore=True,
    )
    metrics.restores(name).inc()
    return restored


class NewConnection(NamedTuple):
    """An unsaved connection with only its workspace, the values to save, and Stripe's reply."""

    connection: StripeConnection
    values: Mapping[str, Any]
    reply: Reply | None = None


def create_connection(
    *,
    workspace: Workspace,
    values: Mapping[str, Any],
    actor: Actor,
    reply: Reply | None = None,
    once: IdempotencyRecord | None = None,
) -> StripeConnection:
    """A new connection of `workspace`; see `create_connections`."""
    connection = StripeConnection(workspace=workspace)
    create_connections([NewConnection(connection, values, reply)], actor, once)
    return connection


def create_connections(
    new: Sequence[NewConnection], actor: Actor, once: IdempotencyRecord | None = None
) -> None:
    """Save and record new connections in one transaction: all of them, or none.

    Their values map names of UPDATABLE_FIELDS to validated values, `connection_name` at least.
    With STRIPE_VERIFY, an API key is verified as for `update_connection`. `once` stores the
    idempotency key in the same transaction.

    Raises a ValueError for a name that is not updatable, a TypeError for a secret that is not
    text, and an IntegrityError if a business ID or the key of `once` is taken.
    """
    recorded = [(one.connection, _set_verified(*one)) for one in new]
    with transaction.atomic():
        leaks.refuse_leaked(*(one.values for one in new))
        connections = [one.connection for one in new]
        StripeConnection.objects.bulk_create(connections, batch_size=records.ROWS_OF_AN_INSERT)
        records.record_creations(recorded, actor)
        if once:
            once.remember(connections[0], statements.lock_timeout())


def create_connection_once(
    *,
    workspace: Workspace,
    values: Mapping[str, Any],
    actor: Actor,
    key: str | None,
    reply: Reply | None = None,
) -> tuple[StripeConnection, bool]:
    """As `create_connection`, but only once a day with the same idempotency `key`, if any.

    Returns the connection as it is now, and whether it existed. Raises idempotency.KeyReusedError
    if the `values` were different, and an OperationalError if another request with the same key
    takes longer than LOCK_TIMEOUT_SECONDS.
    """
    once = None if key is None else IdempotencyRecord.of(workspace, key, values)
    if once and (created := once.connection()):
        return created, True
    try:
        created = create_connection(
            workspace=workspace, values=values, actor=actor, reply=reply, once=once
        )
    except IntegrityError:
        # Another request with the same key was faster.
        if once is None or (first := once.connection()) is None:
            raise
        return first, True
    return created, False


def _set_verified(
    connection: StripeConnection, values: Mapping[str, Any], reply: Reply | None
) -> list[str]:
    """Set the values and the outcome of a new connection; returns the names for the audit."""
    _refuse_unknown(values)
    outcome = None
    if settings.STRIPE_VERIFY and "api_key" in values:
        if reply is None:
            reply = verification.verify(verification.request_of(connection, values))
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
    key works, or the key was replaced in the meantime; nothing is written then.
    """
    before = _checked(_stored(workspace, biz_id).first())
    reply = verification.verify(verification.stored_request(before), deadline=deadline)
    connection = record_reply(before.pk, reply, actor)
    if connection is None:
        raise verification.VerificationUnavailableError(reply.explanation)
    connection.workspace = workspace
    return connection


def record_reply(pk: int, reply: Reply, actor: Actor) -> StripeConnection | None:
    """Write what Stripe said about the stored key of a connection, and return the connection.

    Nothing is written, and None returned, if the connection does not exist, its key was replaced,
    or the reply is not conclusive. A changed outcome is recorded in the audit.
    """
    if not reply.is_conclusive:
        return None
    with transaction.atomic():
        rows = StripeConnection.objects.with_overlap().filter(pk=pk)
        connections = rows.for_update(statements.lock_timeout())
        connection: StripeConnection | None = connections.filter(
            api_key_fingerprint__in=reply.fingerprints
        ).first()
        if connection is None:
            return None
        outcome = reply.for_account(connection.stripe_account_id)
        recorded = _changed_outcome(connection.outcome, outcome)
        connection.keep_outcome(outcome)
        connection.save(update_fields=VERIFICATION_FIELDS, force_update=True)
        if recorded:
            records.record_update(connection, recorded, actor)
    return connection


def _changed_outcome(old: Reply, new: Reply) -> dict[str, tuple[str, str]]:
    """What the audit records of a new outcome."""
    if old.verification == new.verification:
        return {}
    return {"verification": (old.verification, new.verification)}


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    if unknown := values.keys() - UPDATABLE_FIELDS:
        raise ValueError(f"Not updatable: {', '.join(sorted(unknown))}.")


def _checked(
    connection: StripeConnection | None, expected_versions: Collection[int] | None = None
) -> StripeConnection:
    """Return `connection`; raise an error if it is None or not at an expected version."""
    if connection is None:
        raise ConnectionNotFoundError
    if expected_versions is not None and connection.version not in expected_versions:
        raise VersionConflictError
    return connection
