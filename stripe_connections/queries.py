"""Reads the connections of a workspace; the workspace is always part of the query."""

import re
from dataclasses import dataclass

from config.web_chain.parsers import find_bad_character
from stripe_connections.models import StripeConnection
from workspaces.models import Workspace


class UnknownConnectionError(Exception):
    """The workspace has no connection with the business id in `after`."""


@dataclass(frozen=True)
class Page:
    """Connections, and the `after` of the next page if there is one."""

    items: list[StripeConnection]
    next_after: str | None


def find_connection(workspace: Workspace, biz_id: str) -> StripeConnection | None:
    """The connection of `workspace` with this business id, without its secrets, or None."""
    if find_bad_character(biz_id):
        return None
    found = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id).first()
    return _with_workspace(workspace, [found])[0] if found else None


def page_of_connections(
    workspace: Workspace,
    *,
    limit: int,
    after: str | None = None,
    status: int | None = None,
    search: str = "",
) -> Page:
    """At most `limit` connections of `workspace`, newest first, without their secrets.

    `after` is the business id of the last connection of the previous page. An offset instead
    would skip or repeat connections if others are created meanwhile. `search` is a part of the
    name, in upper or lower case.

    Raises UnknownConnectionError if `workspace` has no connection `after`.
    """
    of_workspace = found = StripeConnection.objects.filter(workspace=workspace)
    if after is not None:
        last = of_workspace.filter(biz_id=after).values_list("pk", flat=True).first()
        if last is None:
            raise UnknownConnectionError
        found = found.filter(pk__lt=last)
    if status is not None:
        found = found.filter(status=status)
    if search:
        # Not `icontains`, because SQLite's LIKE ignores case only for ASCII letters.
        found = found.filter(connection_name__iregex=re.escape(search))
    # One more row shows whether there is a next page.
    rows = list(found.order_by("-pk")[: limit + 1])
    items = _with_workspace(workspace, rows[:limit])
    return Page(items, items[-1].biz_id if len(rows) > limit else None)


def _with_workspace(
    workspace: Workspace, connections: list[StripeConnection]
) -> list[StripeConnection]:
    for connection in connections:
        # The caller has already loaded it, with its tenant.
        connection.workspace = workspace
    return connections
