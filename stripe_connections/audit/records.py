"""Who changed what, written by the door in the transaction of the change.

The records are django-auditlog's, so that its readers work; nothing of ours is registered with
it, because its own diff would decrypt and store secrets. Triggers keep them append-only.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType

from stripe_connections.models import SECRET_FIELDS, StripeConnection

# What stands in front of a secret's hint where a new one was given, and where the old one was
# encrypted again.
REPLACED = "replaced"
REENCRYPTED = "re-encrypted"


class Source(StrEnum):
    """Where a change comes from."""

    API = "api"
    ADMIN = "admin"
    COMMAND = "command"


@dataclass(frozen=True)
class Actor:
    """Who asks for a change: the person, if there is one, and by which way."""

    user: User | None
    source: Source
    request_id: str | None = None


def record_update(
    connection: StripeConnection, changes: Mapping[str, tuple[Any, Any]], actor: Actor
) -> None:
    """Append a record of `changes`, from field name to (old value, new value), secrets as hints.

    `statements.py` has the same in SQL.
    """
    _record(LogEntry.Action.UPDATE, connection, changes, actor)


def record_creation(connection: StripeConnection, names: Iterable[str], actor: Actor) -> None:
    """Append a record of a new connection and of the fields called `names`."""
    shown = {name: connection.shown(name) for name in names}
    changes = {
        name: (None, f"{REPLACED} {value}" if name in SECRET_FIELDS else value)
        for name, value in shown.items()
    }
    _record(LogEntry.Action.CREATE, connection, changes, actor)


def record_export(count: int, actor: Actor) -> None:
    """Append a record that somebody took so many connections away, without their secrets."""
    _record_many(LogEntry.Action.ACCESS, count, actor)


def record_reencryption(pks: Collection[int], actor: Actor) -> None:
    """Append one record for a batch of connections whose secrets are now under the first key.

    Not one for each: nothing that anybody reads has changed, and writing a record takes longer
    than encrypting two secrets. None for an empty batch.
    """
    if not pks:
        return
    changes = {"secrets": (None, "re-encrypted under the first key")}
    _record_many(LogEntry.Action.UPDATE, len(pks), actor, changes, object_ids=list(pks))


def _who(actor: Actor) -> dict[str, Any]:
    """What a record says of the actor; the name besides the user, who may be deleted one day."""
    return {
        "source": actor.source,
        "username": actor.user.get_username() if actor.user else None,
    }


def _record(
    action: int,
    connection: StripeConnection,
    changes: Mapping[str, tuple[Any, Any]],
    actor: Actor,
) -> None:
    LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(StripeConnection),
        object_pk=str(connection.pk),
        object_id=connection.pk,
        object_repr=connection.biz_id,
        action=action,
        changes=changes,
        actor=actor.user,
        cid=actor.request_id,
        additional_data=_who(actor) | {"version": connection.version},
    )


def _record_many(
    action: int, count: int, actor: Actor, changes: Mapping[str, Any] | None = None, **data: Any
) -> None:
    LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(StripeConnection),
        object_repr=f"{count} connections",
        action=action,
        changes=changes,
        actor=actor.user,
        cid=actor.request_id,
        additional_data=_who(actor) | data,
    )
