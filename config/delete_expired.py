"""Rows that are of no use any more, deleted a few at a time by those who add new ones."""

from typing import Any

from django.db.models import QuerySet


def sweep(over: QuerySet[Any], limit: int) -> int:
    """Delete at most `limit` of the rows that are `over`, in a transaction; returns how many.

    None that somebody else has locked: two who wait for each other's rows would be a deadlock.
    """
    # Read first: as a part of the deletion PostgreSQL may run it again for every row, and find
    # further ones each time.
    found = over.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit]
    swept: int = over.filter(pk__in=list(found)).delete()[0]
    return swept
