"""Old rows are deleted a few at a time, whoever deletes them."""

import pytest
from django.db import connection, transaction

from config.delete_expired import delete_expired
from workspaces.models import CallCount

PLANS = ("hashjoin", "mergejoin", "hashagg", "material", "memoize", "sort")


@pytest.fixture
def rows(db):
    """Five that are over, and one that is not."""
    CallCount.objects.bulk_create(
        CallCount(key=f"over-{number}", window_end=1, calls=1) for number in range(5)
    )
    CallCount.objects.create(key="open", window_end=9, calls=1)
    return CallCount.objects.filter(window_end=1)


@pytest.mark.parametrize(("limit", "left"), [(3, 2), (5, 0), (9, 0)])
def test_no_more_rows_are_deleted_than_the_limit(rows, limit, left):
    assert delete_expired(rows, limit) == 5 - left

    assert rows.count() == left
    assert CallCount.objects.filter(key="open").exists()


@pytest.mark.only_on("postgresql", reason="SQLite has no such plans")
def test_no_more_rows_are_deleted_whatever_the_plan(rows):
    with connection.cursor() as cursor:
        for way in PLANS:
            cursor.execute(f"SET LOCAL enable_{way} = off")

    assert delete_expired(rows, 3) == 3

    assert rows.count() == 2


@pytest.fixture
def other_session():
    """A database session of somebody else, in a transaction."""
    other = connection.copy()
    other.set_autocommit(False)
    yield other
    other.rollback()
    other.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", reason="SQLite locks the whole database")
def test_locked_rows_are_not_deleted(rows, other_session):
    with other_session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM workspaces_callcount WHERE key = 'over-0' FOR UPDATE")

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        assert delete_expired(rows, 5) == 4

    assert list(rows.values_list("key", flat=True)) == ["over-0"]
