"""The audit of connections, as people read it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditlog.models import LogEntry
from django.contrib.admin.utils import label_for_field
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.utils.text import capfirst

from stripe_connections.models import Status, StripeConnection

ACTIONS = {
    LogEntry.Action.CREATE: "created",
    LogEntry.Action.UPDATE: "changed",
    LogEntry.Action.ACCESS: "exported",
}


@dataclass(frozen=True)
class Change:
    """The old and new value of one field; for a secret, hints."""

    name: str
    old: Any
    new: Any

    @property
    def label(self) -> str:
        """The label of the field in the admin."""
        return field_label(self.name)

    @property
    def old_text(self) -> Any:
        """The old value in words."""
        return _in_words(self.name, self.old)

    @property
    def new_text(self) -> Any:
        """The new value in words."""
        return _in_words(self.name, self.new)


@dataclass(frozen=True)
class Entry:
    """One record: who did what, when, and where the change came from."""

    time: datetime
    username: str
    source: str
    request_id: str
    version: int | None
    action: str
    # Without fields that were sent unchanged.
    changes: tuple[Change, ...]
    number: int | None = None

    @classmethod
    def of(cls, record: LogEntry, number: int | None = None) -> "Entry":
        """The entry of a record; `number` 1 is the oldest of its connection."""
        data = record.additional_data or {}
        return cls(
            time=record.timestamp,
            username=data.get("username") or "",
            source=data.get("source") or "",
            request_id=record.cid or "",
            version=data.get("version"),
            action=ACTIONS.get(record.action, "removed"),
            changes=tuple(
                Change(name, old, new)
                for name, (old, new) in (record.changes or {}).items()
                if old != new
            ),
            number=number,
        )


def records() -> QuerySet[LogEntry]:
    """The records of all connections, newest first."""
    content_type = ContentType.objects.get_for_model(StripeConnection)
    found: QuerySet[LogEntry] = LogEntry.objects.filter(content_type=content_type)
    return found.order_by("-pk")


def records_since(connection: StripeConnection, version: int) -> list[LogEntry]:
    """The records of the changes of `connection` after `version`, newest first."""
    after = {"additional_data__version__gt": version}
    return list(records().filter(object_id=connection.pk, **after))


def page_of_history(
    connection: StripeConnection, *, limit: int, before: int | None = None
) -> tuple[list[Entry], int | None]:
    """At most `limit` entries of `connection`, newest first, with a number below `before`.

    Also returns the `before` of the next page, if there is one.

    Numbers count the records of one connection: they are stable, and reveal nothing about other
    tenants.
    """
    found = records().filter(object_id=connection.pk).order_by("pk")
    count = found.count()
    end = count if before is None else min(before - 1, count)
    start = max(0, end - limit)
    items = [Entry.of(record, number) for number, record in enumerate(found[start:end], start + 1)]
    return items[::-1], start + 1 if start else None


def field_label(name: str) -> str:
    """The label of a field of a connection in the admin; the report of a leak has another name."""
    try:
        return capfirst(str(label_for_field(name, StripeConnection)))
    except AttributeError:
        return capfirst(name)


def _in_words(name: str, value: Any) -> Any:
    return Status(value).label if name == "status" and value is not None else value
