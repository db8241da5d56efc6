"""What a command changes of a connection: checked as the API does, told as old and new."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import OperationalError, transaction

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections import services
from stripe_connections.audit import Actor
from stripe_connections.bulk.report import Report
from stripe_connections.encryption.keyring import keyring
from stripe_connections.encryption.secrets import SecretTraces
from stripe_connections.models import (
    SECRET_FIELDS,
    Status,
    StripeConnection,
)
from stripe_connections.serializers import UpdateConnectionSerializer
from stripe_connections.validators import looks_like_a_key

# Column to the API's name; the status is the operators' alone.
API_NAMES = {
    str(field.source): name
    for name, field in UpdateConnectionSerializer().fields.items()
    if field.source in services.UPDATABLE_FIELDS
} | {"status": "status"}
SECRET_NAMES = tuple(API_NAMES[name] for name in SECRET_FIELDS)


class InvalidValuesError(Exception):
    """Values that the API would refuse; the text says why and repeats no value."""


def validated(values: Mapping[str, str | None]) -> dict[str, Any]:
    """Columns and their new values, from the API's names and texts; InvalidValuesError."""
    values = dict(values)
    changes: dict[str, Any] = {}
    errors: list[str] = []
    if "status" in values:
        name = str(values.pop("status")).upper()
        if name in Status.names:
            changes["status"] = Status[name]
        else:
            errors.append(f"status: This must be {' or '.join(Status.names)}.")
    for name in sorted(values.keys() - API_NAMES.values()):
        del values[name]
        errors.append(
            "There is no such field."
            if looks_like_a_key(name)
            else f"{name[:40]}: There is no such field."
        )
    try:
        changes |= _validated(values)
    except InvalidFieldsError as error:
        errors += [f"{entry['field']}: {entry['message']}" for entry in error.errors or ()]
    if errors:
        raise InvalidValuesError(" ".join(errors))
    return changes


def refused(values: Mapping[str, str | None]) -> list[tuple[str, str, str]]:
    """What today's rules refuse of `values`: field, code, message."""
    try:
        _validated(values)
    except InvalidFieldsError as error:
        return [(str(e["field"]), e["code"], e["message"]) for e in error.errors or ()]
    return []


def _validated(values: Mapping[str, str | None]) -> dict[str, Any]:
    body = {"connectionBizId": "sc_0", **values}
    serializer = UpdateConnectionSerializer(data=body, partial=True)
    serializer.is_valid(raise_exception=True)
    changes: dict[str, Any] = serializer.validated_data["changes"]
    return changes


def locked(pks: Sequence[int], report: Report) -> list[StripeConnection]:
    """These connections with workspace and tenant, in order, locked to the transaction's end.

    One that somebody else keeps locked for LOCK_TIMEOUT_SECONDS is left out and told as failed.
    """
    connections = StripeConnection.objects.filter(pk__in=pks).order_by("pk")
    connections = connections.select_related("workspace__tenant")
    try:
        with transaction.atomic():
            return list(connections.for_update(services.lock_timeout()))
    except OperationalError:
        # SQLite locks the whole database, and before this transaction has begun.
        free = list(connections.select_for_update(of=("self",), skip_locked=True))
    for connection in connections.exclude(pk__in=[connection.pk for connection in free]):
        error = "Somebody else held it too long: run again."
        report.row("failed", connection.biz_id, error, error=error)
    return free


def change(
    report: Report,
    connection: StripeConnection,
    changes: Mapping[str, Any],
    actor: Actor,
    *,
    is_applied: bool,
) -> None:
    """Write those of `changes` that change something, if `is_applied`, and tell the report.

    The connection must be locked, so that what is told as the old value is what was replaced.
    """
    new = different(connection, changes)
    if not new:
        report.row("unchanged", connection.biz_id)
        return
    told = {API_NAMES[n]: [shown(connection, n), _shown_new(n, v)] for n, v in new.items()}
    if is_applied:
        services.update_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            changes=new,
            actor=actor,
        )
    text = ", ".join(f"{name}: {old!r} -> {value!r}" for name, (old, value) in told.items())
    report.row("changed", connection.biz_id, text, changes=told)


def different(connection: StripeConnection, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `changes` that would change something."""
    return {n: v for n, v in changes.items() if _differs(connection, n, v)}


def shown(connection: StripeConnection, name: str) -> Any:
    """What may be seen of a column: of a secret its hint, of the status its name."""
    value = connection.shown(name)
    return Status(value).name if name == "status" else value


def _shown_new(name: str, value: Any) -> Any:
    if name in SECRET_FIELDS:
        return SecretTraces.of(value).hint
    return Status(value).name if name == "status" else value


def _differs(connection: StripeConnection, name: str, value: Any) -> bool:
    if name in SECRET_FIELDS:
        # Without decrypting the old one, which may be unreadable.
        fingerprint = getattr(connection, f"{name}_fingerprint")
        return fingerprint not in keyring().fingerprints(value)
    return bool(getattr(connection, name) != value)
