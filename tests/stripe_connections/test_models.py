"""The constraints of the database, and generated IDs."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import ProtectedError

from stripe_connections.models import Status, StripeConnection
from stripe_connections.secrets.columns import column_names
from workspaces import business_ids
from workspaces.models import Membership, Role, Tenant, Workspace

# PostgreSQL checks the length of a varchar before the constraints.
REFUSALS = (IntegrityError, DataError)
GHOST = "\N{GHOST}"


def refused(queryset, **values):
    """Check that the database refuses to write `values` to the rows of `queryset`."""
    with pytest.raises(REFUSALS), transaction.atomic():
        queryset.update(**values)


def is_stored(queryset, column, value):
    """Write the value to the rows of `queryset`; return whether the database accepts it."""
    try:
        with transaction.atomic():
            queryset.update(**{column: value})
    except REFUSALS:
        return False
    return True


INVALID = [
    ("biz_id", ""),
    ("biz_id", "sc_"),
    ("biz_id", "SC_abc123"),
    ("biz_id", "ws_abc123"),
    ("biz_id", "abc"),
    ("biz_id", "sc_" + "a" * 62),
    ("biz_id", None),
    ("workspace_id", None),
    ("connection_name", ""),
    ("connection_name", "a" * 129),
    ("connection_name", None),
    ("connection_description", "a" * 1001),
    ("stripe_account_id", ""),
    ("stripe_account_id", "acct_"),
    ("stripe_account_id", "ACCT_1"),
    ("stripe_account_id", "act_1"),
    ("stripe_account_id", "acct_" + "1" * 251),
    ("partner_endpoint", ""),
    ("partner_endpoint", "https://"),
    ("partner_endpoint", "https://" + "a" * 2041),
    ("partner_endpoint", "http://partner.example.com"),
    ("config_json", ""),
    ("config_json", "{"),
    ("config_json", "a" * (16 * 1024 + 1)),
    ("status", 2),
    ("status", -1),
    ("status", None),
    ("version", 0),
    ("version", None),
    ("created_at", None),
    ("updated_at", None),
]


@pytest.mark.usefixtures("untouched")
def test_invalid_value_of_a_connection_is_refused():
    assert [case for case in INVALID if is_stored(StripeConnection.objects, *case)] == []


VALID = [
    ("biz_id", "sc_1"),
    ("biz_id", "sc_" + "a" * 61),
    ("connection_name", GHOST * 128),
    ("connection_description", ""),
    ("connection_description", GHOST * 1000),
    ("connection_description", None),
    ("stripe_account_id", "acct_1"),
    ("stripe_account_id", "acct_" + "1" * 250),
    ("stripe_account_id", None),
    ("partner_endpoint", "https://" + "a" * 2040),
    ("partner_endpoint", "HTTPS://partner.example.com"),
    ("partner_endpoint", None),
    ("config_json", "{}"),
    ("config_json", "a" * 16 * 1024),
    ("config_json", None),
    ("status", Status.INACTIVE),
    ("status", Status.ACTIVE),
    ("version", 2**62),
]


def test_valid_value_of_a_connection_is_stored(connection, stored):
    def kept(column, value):
        StripeConnection.objects.update(**{column: value})
        return column, stored(connection)[column]

    assert [kept(*case) for case in VALID] == VALID


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("secret", ["api_key", "webhook_secret"])
def test_secret_needs_its_hint_fingerprint_and_date(secret):
    columns = column_names(secret)

    assert [name for name in columns if is_stored(StripeConnection.objects, name, None)] == []


@pytest.mark.parametrize("secret", ["api_key", "webhook_secret"])
def test_missing_secret_has_no_hint_fingerprint_or_date(connection, secret):
    values = {name: getattr(connection, name) for name in column_names(secret)}
    StripeConnection.objects.update(**dict.fromkeys(values))

    assert [case for case in values.items() if is_stored(StripeConnection.objects, *case)] == []


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "assignment",
    [
        "status = 7",
        "version = 0",
        "connection_name = ''",
        "biz_id = 'SC_abc123'",
        "stripe_account_id = 'ACCT_1'",
        "api_key = NULL",
        "api_key_hint = NULL",
        "workspace_id = NULL",
    ],
)
def test_raw_sql_cannot_write_an_invalid_value(assignment):
    with pytest.raises(IntegrityError), transaction.atomic():
        execute(f"UPDATE stripe_connections_stripeconnection SET {assignment}")


def test_connection_id_is_unique_across_workspaces(connection, make_connection, other_workspace):
    make_connection(other_workspace, "sc_other")
    refused(StripeConnection.objects.filter(biz_id="sc_other"), biz_id=connection.biz_id)


def test_connection_needs_a_workspace_that_exists(workspace):
    row = StripeConnection(workspace_id=workspace.pk + 1, connection_name="New")
    row.save()
    with pytest.raises(IntegrityError), transaction.atomic():
        connection.check_constraints()

    row.delete()


INVALID_PLACES = [
    ("biz_id", ""),
    ("biz_id", "tn_"),
    ("biz_id", "ws_"),
    ("biz_id", "TN_abc"),
    ("biz_id", "WS_abc"),
    ("biz_id", "sc_abc"),
    ("biz_id", "tn_" + "a" * 62),
    ("biz_id", "ws_" + "a" * 62),
    ("biz_id", None),
    ("name", ""),
    ("name", "a" * 129),
    ("name", None),
]


@pytest.mark.parametrize("model", [Tenant, Workspace])
def test_invalid_value_of_a_tenant_or_workspace_is_refused(workspace, model):
    before = model.objects.values().get()

    assert [case for case in INVALID_PLACES if is_stored(model.objects, *case)] == []
    assert model.objects.values().get() == before


@pytest.mark.parametrize("model", [Tenant, Workspace])
def test_ids_of_tenants_and_workspaces_are_unique(workspace, other_workspace, model):
    first, second = model.objects.order_by("pk")
    refused(model.objects.filter(pk=first.pk), biz_id=second.biz_id)


@pytest.mark.parametrize("values", [{"tenant_id": None}, {"is_active": None}])
def test_workspace_needs_a_tenant_and_a_state(workspace, values):
    refused(Workspace.objects, **values)


@pytest.mark.parametrize("role", ["", "owner", "MANAGER", "Manager", None])
def test_unknown_role_is_refused(manager, role):
    refused(Membership.objects, role=role)

    assert Membership.objects.get().role == Role.MANAGER


@pytest.mark.parametrize("column", ["user_id", "workspace_id"])
def test_membership_needs_a_user_and_a_workspace(manager, column):
    refused(Membership.objects, **{column: None})


def test_user_has_one_membership_in_a_workspace(manager, workspace):
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(user=User.objects.get(), workspace=workspace, role=Role.VIEWER)

    assert Membership.objects.get().role == Role.MANAGER


@pytest.mark.parametrize("model", [Tenant, Workspace])
def test_tenant_or_workspace_with_connections_cannot_be_deleted(connection, model):
    with pytest.raises(ProtectedError):
        model.objects.all().delete()

    assert StripeConnection.objects.exists()


@pytest.mark.parametrize(("model", "prefix"), [(Tenant, "tn"), (Workspace, "ws")])
def test_new_id_has_a_prefix_and_random_letters_and_digits(model, prefix):
    assert re.fullmatch(rf"{prefix}_[A-Za-z0-9]{{20,61}}", model().biz_id)


def test_new_connection_has_an_id(workspace, make_connection):
    assert re.fullmatch(r"sc_[A-Za-z0-9]{20,61}", make_connection(workspace).biz_id)


def test_generated_ids_differ():
    assert len({business_ids.generate("sc") for _ in range(1000)}) == 1000


def test_generated_id_uses_the_whole_alphabet():
    letters = set("".join(business_ids.generate("sc")[3:] for _ in range(200)))

    assert letters == set(business_ids.ALPHABET)


@pytest.mark.parametrize(("model", "prefix"), [(Tenant, "tn"), (Workspace, "ws")])
def test_generated_id_is_well_formed(model, prefix):
    assert business_ids.is_well_formed(prefix, model().biz_id)


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_scheme_with_a_long_s_is_not_https(manager, connection, stored):
    before = stored(connection)
    response = manager.update(
        {
            "connectionBizId": "sc_abc123",
            "partnerEndpoint": "http\N{LATIN SMALL LETTER LONG S}://a.example.com",
        }
    )

    assert (response.status_code, response.json()["code"]) == (400, "4000")
    assert response.json()["errors"][0]["field"] == "partnerEndpoint"
    assert stored(connection) == before
