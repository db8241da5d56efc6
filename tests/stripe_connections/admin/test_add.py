"""The form for a new connection."""

import pytest
from auditlog.models import LogEntry
from pytest_django.asserts import assertContains

from stripe_connections.models import StripeConnection
from tests.conftest import plain, random_api_key, random_webhook_secret
from tests.stripe_connections.admin.conftest import ADD, LIST, text

ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the form")


def test_connection_is_added(staff, workspace):
    secret = random_api_key()

    response = staff.post(
        ADD,
        {
            "workspace": workspace.pk,
            "connection_name": " New ",
            "api_key": secret,
            "status": "0",
            "config_json": "{}",
        },
    )

    saved = StripeConnection.objects.defer(None).get()
    record = LogEntry.objects.get()
    assert response.headers["Location"] == LIST
    assert (saved.workspace, saved.connection_name) == (workspace, "New")
    assert plain(saved, "api_key") == secret
    assert (saved.status, saved.config_json, saved.stripe_account_id) == (0, "{}", None)
    assert (record.action, record.additional_data["source"]) == (LogEntry.Action.CREATE, "admin")
    assert saved.api_key_hint in record.changes["api_key"][1]


@ONE_DATABASE
def test_labels_fit_a_new_connection(staff):
    page = text(staff.get(ADD))

    assert '<label class="required" for="id_connection_name">Name:</label>' in page
    assert '<label for="id_api_key">API key:</label>' in page


@ONE_DATABASE
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"connection_name": ""}, "Must not be blank."),
        ({"workspace": ""}, "This field is required."),
        ({"api_key": "we_1"}, "This is the ID of a webhook endpoint"),
        ({"status": "7"}, "Select a valid choice"),
    ],
)
def test_bad_connection_is_not_added(unrendered, staff, workspace, values, message):
    form = {"workspace": workspace.pk, "connection_name": "New", "status": "1"}

    response = staff.post(ADD, form | values)

    assert response.status_code == 200
    assert message in str(response.context_data["errors"])
    assert not StripeConnection.objects.exists()


FORGED = ["x", "\0", "9" * 30, "-1", "1.5", "²"]


def test_invalid_workspace_is_an_error_of_the_form(unrendered, staff, workspace):
    forms = [{"workspace": key, "connection_name": "New"} for key in FORGED]
    responses = [staff.post(ADD, form) for form in forms]

    found = ["workspace" in r.context_data["adminform"].form.errors for r in responses]
    assert found == [True] * len(FORGED)
    assert not StripeConnection.objects.exists()


@ONE_DATABASE
def test_secret_of_a_new_connection_must_be_typed_again_after_an_error(staff, workspace):
    secret = random_webhook_secret()
    typed = {"workspace": workspace.pk, "connection_name": "", "webhook_secret": secret}

    response = staff.post(ADD, typed)

    assertContains(response, "a page never shows a secret: type it again", 1)
    assertContains(response, 'type="checkbox" name="keep_', 1)


def test_form_to_add_that_is_posted_twice_adds_one_connection(staff, workspace):
    values = {"workspace": workspace.pk, "connection_name": "New", "api_key": random_api_key()}
    form = staff.form(ADD) | values

    answers = [staff.post(ADD, form), staff.post(ADD, form)]

    assert [answer.status_code for answer in answers] == [302, 302]
    assert StripeConnection.objects.count() == LogEntry.objects.count() == 1


@ONE_DATABASE
@pytest.mark.parametrize("changed", [{"connection_name": "Another"}, {"form_id": "another"}])
def test_form_to_add_that_is_posted_again_with_a_change_adds_two_connections(
    staff, workspace, changed
):
    form = staff.form(ADD) | {"workspace": workspace.pk, "connection_name": "New"}

    staff.post(ADD, form)
    staff.post(ADD, form | changed)

    assert StripeConnection.objects.count() == 2


@ONE_DATABASE
def test_workspace_is_found_by_typing(staff, workspace, other_workspace):
    query = {
        "app_label": "stripe_connections",
        "model_name": "stripeconnection",
        "field_name": "workspace",
        "term": "ws_dem",
    }

    found = staff.get("/admin/autocomplete/", query).json()["results"]

    assert found == [{"id": str(workspace.pk), "text": "Demo (ws_demo)"}]


@pytest.mark.parametrize("name", ["workspace", "tenant"])
def test_search_for_invalid_unicode_finds_nothing(staff, workspace, name):
    model = {"workspace": "stripeconnection", "tenant": "workspace"}[name]
    app = {"workspace": "stripe_connections", "tenant": "workspaces"}[name]
    fields = f"app_label={app}&model_name={model}&field_name={name}"

    response = staff.get(f"/admin/autocomplete/?{fields}&term=%ED%A0%80")

    assert (response.status_code, response.json()["results"]) == (200, [])
