"""Statements that are built once say the same as those that Django builds each time."""

from datetime import UTC, datetime

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from config import prepared
from config.prepared import PreparedSelect
from stripe_connections.models import StripeConnection
from workspaces.models import Workspace

by_name = PreparedSelect(
    lambda name, status: StripeConnection.objects.select_related("workspace__tenant").filter(
        connection_name=name, status=status
    ),
    name="\0",
    status=32_100,
)


def test_object_is_the_same_as_the_querysets(connection):
    found = by_name.first(name="Stripe Connection", status=1)

    expected = StripeConnection.objects.get()
    assert found == expected
    assert found.get_deferred_fields() == {"api_key", "webhook_secret"}
    assert found.created_at == expected.created_at
    assert found.created_at.tzinfo is UTC
    assert found.workspace.is_active is True
    assert found.workspace.tenant.biz_id == "tn_xyz789"


@pytest.mark.parametrize(("name", "status"), [("Another", 1), ("Stripe Connection", 0)])
def test_every_parameter_counts(connection, name, status):
    assert by_name.first(name=name, status=status) is None


def test_related_objects_cost_no_further_query(connection):
    with CaptureQueriesContext(database) as queries:
        found = by_name.first(name="Stripe Connection", status=1)
        assert str(found.workspace.tenant)

    assert len(queries) == 1


def test_update_writes_the_named_columns_alone(connection, stored):
    before = stored(connection)
    connection.connection_name = "New"
    connection.version = 7
    connection.status = 0

    prepared.update(connection, ["connection_name", "status"])

    assert stored(connection) == before | {"connection_name": "New", "status": 0}


def test_update_encrypts_a_secret(connection, stored):
    before = stored(connection)
    columns = connection.replace_secret("api_key", "sk_" + "test_" + "x" * 30)

    prepared.update(connection, columns)

    assert stored(connection)["api_key"] != before["api_key"]
    assert StripeConnection.objects.get().api_key == "sk_" + "test_" + "x" * 30


def test_insert_prepares_values_as_django_does(tenant):
    prepared.insert(Workspace(biz_id="ws_new", tenant=tenant, name="New", is_active=False))

    created = Workspace.objects.get(biz_id="ws_new")
    assert (created.tenant, created.name, created.is_active) == (tenant, "New", False)


def test_a_name_that_is_no_field_is_an_error(connection):
    with pytest.raises(FieldDoesNotExist, match="nonsense"):
        prepared.update(connection, ["nonsense"])


def test_times_survive_a_round_trip(connection):
    moment = datetime(2026, 3, 21, 1, 2, 3, 456789, tzinfo=UTC)
    connection.updated_at = moment

    prepared.update(connection, ["updated_at"])

    assert by_name.first(name="Stripe Connection", status=1).updated_at == moment
