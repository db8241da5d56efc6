"""Statements that are built once say the same as those that Django builds each time."""

from datetime import UTC, datetime

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import IntegrityError, transaction

from config import prepared
from config.prepared import NewRow, PreparedSelect
from stripe_connections.models import StripeConnection
from workspaces.models import Workspace

NAMES = ("id", "connection_name", "created_at", "workspace__is_active")
by_name = PreparedSelect(
    lambda name, status: StripeConnection.objects.filter(
        connection_name=name, status=status
    ).values_list(*NAMES),
    name="\0",
    status=32_100,
)


def new_workspace(tenant):
    values = {"biz_id": "ws_new", "tenant": tenant.pk, "name": "New", "is_active": False}
    return NewRow(Workspace, values)


@pytest.fixture
def update(connection):
    """Write fields of the connection and a new workspace beside it; whether it was done."""

    def call(names, **expected):
        row = new_workspace(connection.workspace.tenant)
        return prepared.update_and_insert(connection, names, expected, row, timeout="1s")

    return call


def test_row_is_the_same_as_the_querysets(connection):
    (expected,) = StripeConnection.objects.values_list(*NAMES)

    found = by_name.first(name="Stripe Connection", status=1)

    assert tuple(found) == expected
    assert found[2].tzinfo is UTC
    assert found[3] is True


@pytest.mark.parametrize(("name", "status"), [("Another", 1), ("Stripe Connection", 0)])
def test_every_parameter_counts(connection, name, status):
    assert by_name.first(name=name, status=status) is None


def test_object_of_a_row_has_the_named_attributes_alone(connection):
    found = prepared.instance(StripeConnection, ("id", "status"), (connection.pk, 1))

    assert found == connection
    assert found.get_deferred_fields().isdisjoint({"id", "status"})
    assert found.connection_name == "Stripe Connection"


def test_update_writes_the_named_columns_alone(connection, stored, update):
    before = stored(connection)
    connection.connection_name = "New"
    connection.version = 7
    connection.status = 0

    assert update(["connection_name", "status"], version=1)

    assert stored(connection) == before | {"connection_name": "New", "status": 0}


def test_update_encrypts_a_secret(connection, stored, update):
    before = stored(connection)
    columns = connection.replace_secret("api_key", "sk_" + "test_" + "x" * 30)

    assert update(columns)

    assert stored(connection)["api_key"] != before["api_key"]
    assert StripeConnection.objects.get().api_key == "sk_" + "test_" + "x" * 30


def test_insert_prepares_values_as_django_does(tenant):
    prepared.insert(new_workspace(tenant))

    created = Workspace.objects.get(biz_id="ws_new")
    assert (created.tenant, created.name, created.is_active) == (tenant, "New", False)


def test_update_comes_with_its_insert(connection, update):
    assert update(["status"], version=1, biz_id="sc_abc123")

    created = Workspace.objects.get(biz_id="ws_new")
    assert (created.tenant, created.is_active) == (connection.workspace.tenant, False)


@pytest.mark.parametrize("expected", [{"version": 2}, {"version": 1, "biz_id": "sc_another"}])
def test_row_that_is_not_as_expected_is_not_written_nor_is_anything_inserted(
    connection, stored, update, expected
):
    before = stored(connection)
    connection.connection_name = "New"

    assert not update(["connection_name"], **expected)

    assert stored(connection) == before
    assert not Workspace.objects.filter(biz_id="ws_new").exists()


def test_insert_that_fails_undoes_the_update(connection, stored, update):
    before = stored(connection)
    connection.connection_name = "New"
    Workspace.objects.create(biz_id="ws_new", tenant=connection.workspace.tenant, name="There")

    with pytest.raises(IntegrityError), transaction.atomic():
        update(["connection_name"], version=1)

    assert stored(connection) == before


def test_a_name_that_is_no_field_is_an_error(update):
    with pytest.raises(FieldDoesNotExist, match="nonsense"):
        update(["nonsense"])


def test_times_survive_a_round_trip(connection, update):
    connection.created_at = moment = datetime(2026, 3, 21, 1, 2, 3, 456789, tzinfo=UTC)

    update(["created_at"])

    assert by_name.first(name="Stripe Connection", status=1)[2] == moment
