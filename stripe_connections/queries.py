"""What is read of a workspace's connections; the workspace is always part of the query."""

import re
from dataclasses import dataclass

from config.web_chain.parsers import find_bad_character
from stripe_connections.models import StripeConnection
from workspaces.models import Workspace


class UnknownConnectionError(Exception):
    """The workspace has no connection of the business id that a page is to follow."""


@dataclass(frozen=True)
class Page:
    """Some connections, and the business id that the next page follows, if there is one."""

    items: list[StripeConnection]
    next_after: str | None


def find_connection(workspace: Workspace, biz_id: str) -> StripeConnection | None:
    """The connection of `workspace` that is called so, without its secrets."""
    if find_bad_character(biz_id):
        return None
    found = StripeConnection.objects.filter(workspace=workspace, biz_id=biz_id).first()
    return _of(workspace, [found])[0] if found else None


def page_of_connections(
    workspace: Workspace,
    *,
    limit: int,
    after: str | None = None,
    status: int | None = None,
    search: str = "",
) -> Page:
    """At most `limit` connections of `workspace`, newest first, without their secrets.

    Those that follow the connection called `after`; of a `status`; with `search` in their name,
    in upper or lower case. Going by the key of the last row and not by a count, nobody misses a
    connection or sees it twice where others are created meanwhile.

    Raises UnknownConnectionError where `workspace` has none called `after`.
    """
    everyone = found = StripeConnection.objects.filter(workspace=workspace)
    if after is not None:
        last = everyone.filter(biz_id=after).values_list("pk", flat=True).first()
        if last is None:
            raise UnknownConnectionError
        found = found.filter(pk__lt=last)
    if status is not None:
        found = found.filter(status=status)
    if search:
        # Not `icontains`: SQLite's LIKE knows the case of ASCII letters only.
        found = found.filter(connection_name__iregex=re.escape(search))
    # One more, which tells whether there is a next page.
    rows = list(found.order_by("-pk")[: limit + 1])
    items = _of(workspace, rows[:limit])
    return Page(items, items[-1].biz_id if len(rows) > limit else None)


def _of(workspace: Workspace, connections: list[StripeConnection]) -> list[StripeConnection]:
    for connection in connections:
        # The caller has it already, with its tenant.
        connection.workspace = workspace
    return connections
