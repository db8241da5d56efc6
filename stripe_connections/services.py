"""The one door: every write to a connection, whoever asks for it."""

from collections.abc import Collection, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from stripe_connections import audit
from stripe_connections.audit import Actor
from stripe_connections.models import SECRET_FIELDS, StripeConnection
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


def update_connection(
    *,
    workspace: Workspace,
    biz_id: str,
    changes: Mapping[str, Any],
    actor: Actor,
    expected_versions: Collection[int] | None = None,
) -> StripeConnection:
    """Apply `changes` to a connection of `workspace`, all of them or none.

    `changes` maps names of UPDATABLE_FIELDS to validated values; what is not in it is neither
    written nor decrypted. Without any, the connection is returned as it is. With
    `expected_versions`, it must be at one of them.

    In one transaction: the row is locked, the given columns are written with a new `version` and
    `updated_at`, and the audit record is appended.

    Raises ConnectionNotFoundError and VersionConflictError, and a ValueError for a name that is
    not updatable or a secret that is not text.
    """
    if unknown := changes.keys() - UPDATABLE_FIELDS:
        raise ValueError(f"Not updatable: {', '.join(sorted(unknown))}.")
    connections = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id)
    if not changes:
        return _found(connections.first(), workspace, expected_versions)
    with transaction.atomic():
        locked = connections.select_for_update().first()
        connection = _found(locked, workspace, expected_versions)
        log = {}
        columns = ["version", "updated_at"]
        for name, value in changes.items():
            if name in SECRET_FIELDS:
                old = getattr(connection, f"{name}_hint")
                columns += connection.replace_secret(name, value)
                log[name] = (old, f"{audit.REPLACED} {getattr(connection, f'{name}_hint')}")
            else:
                log[name] = (getattr(connection, name), value)
                setattr(connection, name, value)
                columns.append(name)
        connection.version += 1
        connection.updated_at = timezone.now()
        connection.save(update_fields=columns, force_update=True)
        audit.record_update(connection, log, actor)
    return connection


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
