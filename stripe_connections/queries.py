"""Reads the connections of a workspace; the workspace is always part of the query.

`workspace.connections` sets the workspace of each connection, which the caller has loaded with its
tenant.
"""

import re

from config.web_chain.parsers import find_bad_character
from stripe_connections.models import StripeConnection
from workspaces.models import Workspace


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
    status: int | None = None,
    search: str = "",
) -> tuple[list[StripeConnection], str | None]:
    """At most `limit` connections of `workspace`, newest first, without their secrets.

    `after` is the business ID of the last connection of the previous page. An offset instead
    would skip or repeat connections if others are created meanwhile. `search` is a part of the
    name, in upper or lower case. Also returns the `after` of the next page, if there is one.

    Raises UnknownConnectionError if `workspace` has no connection `after`.
    """
    found = workspace.connections.with_overlap()
    if after is not None:
        last = found.filter(biz_id=after).values_list("pk", flat=True).first()
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
    items = rows[:limit]
    return items, items[-1].biz_id if len(rows) > limit else None
