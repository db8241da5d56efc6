"""Deletes expired rows, a few at a time, whenever new ones are added."""

from typing import Any

from django.db.models import QuerySet


def delete_expired(expired: QuerySet[Any], limit: int) -> int:
    """Delete at most `limit` of the `expired` rows, in a transaction; returns their number.

    Locked rows are skipped: two transactions that wait for each other's rows would deadlock.
    """
    # Read first: PostgreSQL may execute a subquery of the deletion again for each row, and then
    # find more rows than the limit.
    found = expired.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit]
    deleted: int = expired.filter(pk__in=list(found)).delete()[0]
    return deleted
