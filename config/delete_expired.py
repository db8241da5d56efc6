"""Deletes expired rows, a limited number at a time."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

DELETE_SECONDS = 600
DELETED_ROWS = 1_000


class ExpiredRows:
    """Deletes at most DELETED_ROWS of the `expired` rows every ten minutes, in each process.

    Call `delete` when the time `due_at` is reached, and before rows are added: a failure then loses
    nothing.
    """

    def __init__(self, expired: Callable[[], QuerySet[Any]]) -> None:
        self._expired = expired
        # In seconds of `time.monotonic`.
        self.due_at = monotonic() + DELETE_SECONDS

    def delete(self) -> None:
        now = monotonic()
        self.due_at = now + DELETE_SECONDS
        if delete_expired(self._expired()) == DELETED_ROWS:
            # Rows may be added faster than this deletes them every ten minutes.
            self.due_at = now


@transaction.atomic
def delete_expired(expired: QuerySet[Any], limit: int = DELETED_ROWS) -> int:
    """Delete at most `limit` of the `expired` rows, in a transaction; returns their number.

    Locked rows are skipped: two transactions that wait for each other's rows would deadlock.
    """
    # Read first: PostgreSQL may execute a subquery of the deletion again for each row, and then
    # find more rows than the limit.
    found = expired.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit]
    deleted: int = expired.filter(pk__in=list(found)).delete()[0]
    return deleted
