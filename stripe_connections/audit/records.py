"""Who changed what: the service layer writes these records in the transaction of the change.

The records are django-auditlog's LogEntry rows. No model is registered with django-auditlog,
because its own diff would decrypt and store secrets. Triggers keep the rows append-only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.template.defaultfilters import pluralize

from stripe_connections.models import SECRET_FIELDS, StripeConnection

# The word before the hint of a secret that was replaced, restored, or only encrypted again.
REPLACED = "replaced"
RESTORED = "restored"
REENCRYPTED = "re-encrypted"
# PostgreSQL allows 65,535 parameters in a statement.
ROWS_OF_AN_INSERT = 1_000


class Source(StrEnum):
    """Where a change comes from."""

    API = "api"
    ADMIN = "admin"
    COMMAND = "command"


@dataclass(frozen=True)
class Actor:
    """Who makes a change: the user, if there is one, and the source."""

    user: User | None
    source: Source
    request_id: str | None = None


def record_update(
    connection: StripeConnection, changes: Mapping[str, tuple[Any, Any]], actor: Actor
) -> None:
    """Append a record of `changes`: field name to (old value, new value), secrets as hints.

    `statements.py` does the same in SQL.
    """
    _append(LogEntry.Action.UPDATE, connection, actor, changes)


def record_creations(new: Iterable[tuple[StripeConnection, Iterable[str]]], actor: Actor) -> None:
    """Append a record of each new connection with the values of the fields that are named."""
    entries = []
    for connection, names in new:
        shown = {name: connection.shown(name) for name in names}
        changes = {
            name: (None, f"{REPLACED} {value}" if name in SECRET_FIELDS else value)
            for name, value in shown.items()
        }
        entries.append(_entry(LogEntry.Action.CREATE, connection, actor, changes))
    LogEntry.objects.bulk_create(entries, batch_size=ROWS_OF_AN_INSERT)


def record_export(count: int, actor: Actor) -> None:
    """Append a record of an export of `count` connections, which contains no secrets."""
    _append(LogEntry.Action.ACCESS, count, actor)


def record_leak(count: int, text: str, actor: Actor) -> None:
    """Append a record that a secret, which `count` connections have, was reported as leaked."""
    _append(LogEntry.Action.UPDATE, count, actor, {"secrets": (None, text)})


def record_reencryption(changed: Mapping[int, Iterable[str]], actor: Actor) -> None:
    """Append one record for re-encrypted connections: by primary key, the names of the secrets.

    One per connection would take longer than encrypting its secrets, and no value has changed. The
    record of a single connection belongs to its history.
    """
    subject: StripeConnection | int = len(changed)
    changes: dict[str, Any] = {"secrets": (None, "re-encrypted under the first key")}
    if len(changed) == 1:
        ((pk, names),) = changed.items()
        subject = connection = StripeConnection.objects.get(pk=pk)
        hints = {name: connection.shown(name) for name in names}
        # Without names, only replaced secrets were encrypted again.
        changes = {n: (hint, f"{REENCRYPTED} {hint}") for n, hint in hints.items()} or changes
    _append(LogEntry.Action.UPDATE, subject, actor, changes, object_ids=sorted(changed))


def _append(*record: Any, **more: Any) -> None:
    _entry(*record, **more).save()


def _entry(
    action: int,
    subject: StripeConnection | int,
    actor: Actor,
    changes: Mapping[str, Any] | None = None,
    **more: Any,
) -> LogEntry:
    """An unsaved record about one connection, or about a number of them."""
    named: dict[str, Any]
    if isinstance(subject, StripeConnection):
        pk = subject.pk
        named = {"object_pk": str(pk), "object_id": pk, "object_repr": subject.biz_id}
        more["version"] = subject.version
    else:
        named = {"object_repr": f"{subject} connection{pluralize(subject)}"}
    # The user name, in case the user is deleted later.
    username = actor.user.get_username() if actor.user else None
    return LogEntry(
        **named,
        content_type=ContentType.objects.get_for_model(StripeConnection),
        action=action,
        changes=changes,
        actor=actor.user,
        cid=actor.request_id,
        additional_data={"source": actor.source, "username": username, **more},
    )
