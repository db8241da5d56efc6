"""`delete_expired` deletes a limited number of rows and skips locked ones."""

import pytest
from django.db import connection, transaction

from config.delete_expired import delete_expired
from workspaces.models import CallCount

PLANS = ("hashjoin", "mergejoin", "hashagg", "material", "memoize", "sort")


@pytest.fixture
def rows(db):
    """Five expired rows; one more has not expired."""
    CallCount.objects.bulk_create(
        CallCount(key=f"expired-{number}", window_end=1, calls=1) for number in range(5)
    )
    CallCount.objects.create(key="open", window_end=9, calls=1)
    return CallCount.objects.filter(window_end=1)


@pytest.mark.parametrize(("limit", "left"), [(3, 2), (5, 0), (9, 0)])
def test_number_of_deleted_rows_is_limited(rows, limit, left):
    assert delete_expired(rows, limit) == 5 - left

    assert rows.count() == left
    assert CallCount.objects.filter(key="open").exists()


@pytest.mark.only_on("postgresql", reason="SQLite does not have these plans")
def test_limit_does_not_depend_on_the_plan(rows):
    with connection.cursor() as cursor:
        for plan in PLANS:
            cursor.execute(f"SET LOCAL enable_{plan} = off")

    assert delete_expired(rows, 3) == 3

    assert rows.count() == 2


@pytest.fixture
def other_session():
    """Another database session, in a transaction."""
    other = connection.copy()
    other.set_autocommit(False)
    yield other
    other.rollback()
    other.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", reason="SQLite locks the whole database")
def test_locked_rows_are_not_deleted(rows, other_session):
    with other_session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM workspaces_callcount WHERE key = 'expired-0' FOR UPDATE")

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        assert delete_expired(rows, 5) == 4

    assert list(rows.values_list("key", flat=True)) == ["expired-0"]
