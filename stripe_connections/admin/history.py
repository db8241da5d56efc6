"""The audit of connections, as staff read it."""

from collections.abc import Iterator
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
    """What became of one field; of a secret there are hints."""

    label: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Entry:
    """One record: who did what, by which way."""

    moment: datetime
    username: str
    source: str
    request_id: str
    version: int | None
    action: str
    changes: tuple[Change, ...]

    @classmethod
    def of(cls, record: LogEntry) -> "Entry":
        """A record of auditlog's, in words."""
        data = record.additional_data or {}
        return cls(
            moment=record.timestamp,
            username=data.get("username") or "",
            source=data.get("source") or "",
            request_id=record.cid or "",
            version=data.get("version"),
            action=ACTIONS.get(record.action, "removed"),
            changes=tuple(_changes(record.changes or {})),
        )


def records() -> QuerySet[LogEntry]:
    """Every record of a connection, newest first."""
    content_type = ContentType.objects.get_for_model(StripeConnection)
    found: QuerySet[LogEntry] = LogEntry.objects.filter(content_type=content_type)
    return found.order_by("-pk")


def records_since(connection: StripeConnection, version: int) -> list[LogEntry]:
    """What happened to `connection` after it was at `version`, newest first."""
    after = {"additional_data__version__gt": version}
    return list(records().filter(object_id=connection.pk, **after))


def field_label(name: str) -> str:
    """What staff call a field of a connection."""
    return capfirst(str(label_for_field(name, StripeConnection)))


def _changes(changes: dict[str, list[Any]]) -> Iterator[Change]:
    for name, (old, new) in changes.items():
        yield Change(field_label(name), _shown(name, old), _shown(name, new))


def _shown(name: str, value: Any) -> Any:
    return Status(value).label if name == "status" and value is not None else value
