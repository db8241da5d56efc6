"""The demo data: the connection from the documentation, and users."""

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.test import override_settings

from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.replies import Verification
from tests.conftest import ApiClient
from workspaces.models import Membership, Tenant, Workspace

pytestmark = pytest.mark.django_db
NAME_CHANGE = {"connectionBizId": "sc_abc123", "connectionName": "Changed"}
OUTPUT = pytest.mark.only_on("sqlite", reason="what is printed does not depend on the database")


@pytest.fixture(scope="module")
def loaded(outer_transaction: None) -> dict[str, list[dict[str, Any]]]:
    """The output of the first run, whose rows all tests of this module see."""
    with override_settings(DEMO_PEOPLE=True):
        return load_json()


@pytest.fixture(autouse=True)
def people(loaded: dict[str, list[dict[str, Any]]], settings: Any) -> list[dict[str, Any]]:
    """The printed users."""
    settings.DEMO_PEOPLE = True
    return loaded["users"]


def load(**options: Any) -> str:
    out = StringIO()
    call_command("load_demo", stdout=out, **options)
    return out.getvalue()


def load_json(**options: Any) -> dict[str, list[dict[str, Any]]]:
    loaded: dict[str, list[dict[str, Any]]] = json.loads(load(format="json", **options))
    return loaded


def counts() -> list[int]:
    models = (User, Tenant, Workspace, Membership, StripeConnection)
    return [model._default_manager.count() for model in models]


def client_of(person: dict[str, Any]) -> ApiClient:
    """Log in with the printed password."""
    credentials = {name: person[name] for name in ("username", "password")}
    client = ApiClient()
    answer = client.post("/web/v1/auth/token", credentials, content_type="application/json")
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {answer.json()['data']['accessToken']}"
    return client


@OUTPUT
def test_json_output_is_as_documented(loaded):
    assert list(loaded) == ["users", "workspaces"]
    assert [list(user) for user in loaded["users"]] == [
        ["username", "password", "role", "workspaceId"]
    ] * 4
    assert [(user["role"], user["workspaceId"]) for user in loaded["users"]] == [
        ("manager", "ws_demo"),
        ("viewer", "ws_demo"),
        ("manager", "ws_other"),
        ("staff", None),
    ]
    assert loaded["workspaces"] == [
        {
            "workspaceId": "ws_demo",
            "tenantBizId": "tn_xyz789",
            "connectionBizIds": ["sc_abc123"],
        },
        {
            "workspaceId": "ws_other",
            "tenantBizId": "tn_other",
            "connectionBizIds": ["sc_other1"],
        },
    ]


@pytest.mark.parametrize("verification", Verification.values)
def test_every_verification_has_several_connections(verification):
    assert StripeConnection.objects.filter(verification=verification).count() > 3


@OUTPUT
@pytest.mark.parametrize(("person", "status"), [(0, 200), (1, 403), (2, 403), (3, 403)])
def test_demo_users_can_log_in_and_have_the_permissions_of_their_role(people, person, status):
    assert client_of(people[person]).update(NAME_CHANGE).status_code == status


@OUTPUT
def test_outsider_manages_the_other_workspace(people):
    outsider = client_of(people[2])

    assert outsider.update({"connectionBizId": "sc_other1"}, "ws_other").status_code == 200


@OUTPUT
def test_only_the_staff_user_is_staff():
    assert list(User.objects.filter(is_staff=True).values_list("username", flat=True)) == [
        "demo-staff"
    ]


def test_connection_of_the_documentation_is_created():
    connection = StripeConnection.objects.get(biz_id="sc_abc123")
    assert connection.workspace.biz_id == "ws_demo"
    assert connection.workspace.tenant.biz_id == "tn_xyz789"
    assert connection.stripe_account_id == "acct_1234567890"
    assert connection.api_key_hint
    assert connection.webhook_secret_hint


def test_second_run_prints_the_same_and_creates_nothing(loaded):
    rows = counts()

    assert (load_json(), counts()) == (loaded, rows)


def test_second_run_does_not_undo_changes(people):
    client_of(people[0]).update(NAME_CHANGE)

    load()

    assert StripeConnection.objects.get(biz_id="sc_abc123").connection_name == "Changed"


def test_tokens_survive_a_second_run(people):
    client = client_of(people[0])

    load()

    assert client.update(NAME_CHANGE).status_code == 200


def test_second_run_resets_a_changed_password(people):
    user = User.objects.get(username="demo-manager")
    user.set_password("another one")
    user.save()

    assert load_json()["users"] == people
    assert client_of(people[0]).update(NAME_CHANGE).status_code == 200


@OUTPUT
def test_passwords_depend_on_the_deployment(people, settings):
    first = {user["password"] for user in people}
    settings.SECRET_KEY = "another deployment's secret key, just as long as it has to be"

    assert first.isdisjoint(user["password"] for user in load_json()["users"])
    assert len(first) == 4


@pytest.mark.parametrize(("wanted", "found"), [(0, 1), (1, 1), (3, 3), (12, 12)])
def test_connections_are_created_up_to_the_given_number(wanted, found):
    biz_ids = load_json(connections=wanted)["workspaces"][0]["connectionBizIds"]

    assert len(set(biz_ids)) == found
    assert biz_ids[0] == "sc_abc123"


def test_smaller_number_deletes_no_connections():
    load(connections=5)

    assert len(load_json(connections=2)["workspaces"][0]["connectionBizIds"]) == 5


@OUTPUT
def test_text_output_shows_every_user(people):
    text = load()

    assert [person["password"] in text for person in people] == [True] * 4
    assert "demo-staff" in text
    assert "None" not in text


@OUTPUT
def test_command_is_refused_without_demo_people(settings):
    settings.DEMO_PEOPLE = False
    User.objects.all().delete()
    before = counts()

    with pytest.raises(CommandError, match="DEMO_PEOPLE"):
        load()

    assert (before[0], counts()) == (0, before)


@OUTPUT
def test_every_demo_user_who_can_log_in_is_an_error_in_production(people, settings):
    settings.DEMO_PEOPLE = False

    found = [error.msg for error in run_checks(databases=["default"]) if "E014" in error.id]

    assert len(found) == len(people)
    assert [person for person in people if person["username"] not in str(found)] == []


@pytest.mark.only_on("postgresql", reason="its planner needs statistics")
def test_statistics_are_collected():
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT tablename FROM pg_stats WHERE tablename LIKE %s", ["%conn%"]
        )
        assert ("stripe_connections_stripeconnection",) in cursor.fetchall()
