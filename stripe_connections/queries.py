"""Reads the connections of a workspace; the workspace is always part of the query.

`workspace.connections` sets the workspace of each connection, which the caller has loaded with its
tenant.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Q
from django.db.models.lookups import GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual

from config.web_chain.parsers import find_bad_character
from stripe_connections.models import StripeConnection, in_mode
from workspaces.models import Workspace
from workspaces.search import folded

MAX_TOTAL = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# What a list can be sorted by. There is no index on the time of the last update, because it would
# make every update slower; this order sorts the connections of one workspace.
KEYS: Mapping[str, Any] = {
    "created": F("pk"),
    "name": folded("connection_name"),
    "updated": F("updated_at"),
}
# Each filter of a list, and its condition.
FILTERS: Mapping[str, Callable[[Any], Q]] = {
    "status": lambda status: Q(status=status),
    "mode": in_mode,
    "stripe_account_id": lambda account_id: Q(stripe_account_id=account_id),
    "outcome": lambda outcome: Q(verification=outcome),
    "cause": lambda cause: Q(verification_cause=cause),
    "has_webhook_secret": lambda has: Q(webhook_secret_hint__isnull=not has),
    # A part of the name, in upper or lower case. Not `icontains`, because SQLite's LIKE ignores
    # case only for ASCII letters.
    "search": lambda text: Q(connection_name__iregex=re.escape(text)) if text else Q(),
}


class UnknownConnectionError(Exception):
    """The workspace has no connection with the business ID in `after`."""


def find_connection(workspace: Workspace, biz_id: str) -> StripeConnection | None:
    """The connection of `workspace` with this business ID, without its secrets, or None."""
    if find_bad_character(biz_id):
        return None
    connections = workspace.connections.with_overlap()
    found: StripeConnection | None = connections.filter(biz_id=biz_id).first()
    return found


def page_of_connections(
    workspace: Workspace,
    *,
    limit: int,
    after: str | None = None,
    sort: str = "-created",
    count: bool = False,
    **filters: Any,
) -> tuple[list[StripeConnection], str | None, int | None]:
    """At most `limit` connections of `workspace`, without their secrets.

    `sort` is a name of KEYS, with a minus sign for the descending order. `after` is the position
    where the previous page ends. An offset instead would skip or repeat connections if others are
    created in the meantime. `filters` have names of FILTERS.

    Also returns the `after` of the next page, if there is one, and with `count` the total of all
    pages: MAX_TOTAL + 1 means that there are more than MAX_TOTAL.

    Raises UnknownConnectionError if `workspace` has no connection `after`.
    """
    conditions = [FILTERS[name](value) for name, value in filters.items()]
    counted = workspace.connections.filter(*conditions)[: MAX_TOTAL + 1]
    total = counted.count() if count else None
    found = workspace.connections.with_overlap().filter(*conditions)
    name, is_descending = sort.removeprefix("-"), sort.startswith("-")
    key = KEYS[name]
    if after is not None:
        found = found.filter(_beyond(workspace, name, after, is_descending=is_descending))
    order = [key.desc(), F("pk").desc()] if is_descending else [key.asc(), F("pk").asc()]
    # One more row shows whether there is a next page.
    rows: list[StripeConnection] = [*found.annotate(sort_key=key).order_by(*order)[: limit + 1]]
    items = rows[:limit]
    return items, _position(name, items[-1]) if len(rows) > limit else None, total


def _position(name: str, last: Any) -> str:
    """Where a page ends: the business ID, and the key, which may change in the meantime."""
    if name == "created":
        return str(last.biz_id)
    is_time = isinstance(last.sort_key, datetime)
    key = (last.sort_key - EPOCH) // MICROSECOND if is_time else last.sort_key
    return f"{last.biz_id}~{key}"


def _beyond(workspace: Workspace, name: str, after: str, *, is_descending: bool) -> Q:
    """The condition for the rows that follow the position `after`.

    Its first part alone lets the database begin in the middle of an index.
    """
    biz_id, _, text = after.partition("~")
    last = workspace.connections.filter(biz_id=biz_id).values_list("pk", flat=True).first()
    value: Any = last if name == "created" else text
    if name == "updated":
        value = EPOCH + int(text) * MICROSECOND if re.fullmatch("[0-9]{1,17}", text) else None
    if last is None or value is None or bool(text) is (name == "created"):
        raise UnknownConnectionError
    key, pk = KEYS[name], {"pk__lt" if is_descending else "pk__gt": last}
    not_before, after_it = (
        (LessThanOrEqual, LessThan) if is_descending else (GreaterThanOrEqual, GreaterThan)
    )
    return Q(not_before(key, value)) & (Q(after_it(key, value)) | Q(**pk))
