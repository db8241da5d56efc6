"""The form for a connection: validation, saving and what it shows."""

import re

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.db import OperationalError
from django.db import connection as database
from pytest_django.asserts import assertContains

from stripe_connections.models import Status, StripeConnection
from tests.conftest import plain, random_api_key, random_webhook_secret
from tests.stripe_connections.admin.conftest import ADD, LIST, change_url, messages, text

# Name in the API, name in the form, and a bad value.
BAD = [
    ("connectionName", "connection_name", " "),
    ("connectionName", "connection_name", "x" * 129),
    ("connectionName", "connection_name", "a\x07b"),
    ("connectionDescription", "connection_description", "x" * 1_001),
    ("stripeAccountId", "stripe_account_id", "  "),
    ("stripeAccountId", "stripe_account_id", "we_123"),
    ("apiKey", "api_key", "  "),
    ("apiKey", "api_key", "pk_" + "live_1"),
    ("apiKey", "api_key", "sk_" + "x" * 1_100),
    ("webhookSecret", "webhook_secret", "we_1"),
    ("partnerEndpoint", "partner_endpoint", "http://partner.example.com"),
    ("partnerEndpoint", "partner_endpoint", "https://a.example/" + "x" * 2_048),
    ("configJson", "config_json", "{"),
    ("configJson", "config_json", '{"a": "' + "x" * 17_000 + '"}'),
]
ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the form")


def secrets_of(connection):
    return StripeConnection.objects.defer(None).get(pk=connection.pk)


@ONE_DATABASE
@pytest.mark.parametrize(("api_name", "name", "value"), BAD)
def test_bad_value_is_refused_with_the_message_of_the_api(
    unrendered, staff, manager, connection, stored, api_name, name, value
):
    before = stored(connection)
    answer = manager.update({"connectionBizId": "sc_abc123", api_name: value})

    response = staff.save(change_url(connection), **{name: value})

    assert answer.status_code == 400
    assert response.status_code == 200
    assert response.context_data["errors"] == [[answer.json()["errors"][0]["message"]]]
    assert stored(connection) == before
    assert not LogEntry.objects.exists()


@ONE_DATABASE
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("connection_name", "  New name ", "New name"),
        ("connection_description", " two\r\nlines ", " two\nlines "),
        ("connection_description", "", None),
        ("stripe_account_id", " acct_9 ", "acct_9"),
        ("stripe_account_id", "", None),
        ("partner_endpoint", " https://new.example.com/x ", "https://new.example.com/x"),
        ("partner_endpoint", "", None),
        ("config_json", '{\r\n "a": 1}', '{\n "a": 1}'),
        ("status", "0", Status.INACTIVE),
    ],
)
def test_value_is_saved(staff, connection, stored, name, value, expected):
    before = stored(connection)

    response = staff.save(change_url(connection), **{name: value})

    after = stored(connection)
    assert response.status_code == 302
    assert after[name] == expected
    assert {column for column in after if after[column] != before[column]} == {
        name, "version", "updated_at",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make"), [("api_key", random_api_key), ("webhook_secret", random_webhook_secret)]
)
def test_secret_is_replaced(staff, connection, name, make):
    secret = make()

    staff.save(change_url(connection), **{name: f" {secret} "})

    saved = secrets_of(connection)
    assert plain(saved, name) == secret
    assert getattr(saved, f"{name}_hint").endswith(secret[-4:])


def test_empty_secrets_and_untouched_fields_write_nothing(staff, connection, stored):
    before = stored(connection)

    response = staff.save(change_url(connection))

    assert response.status_code == 302
    assert stored(connection) == before
    assert not LogEntry.objects.exists()


@ONE_DATABASE
@pytest.mark.parametrize(
    ("button", "next_page"), [("_save", LIST), ("_continue", ""), ("_addanother", ADD)]
)
def test_saving_without_a_change_shows_a_message(staff, connection, button, next_page):
    response = staff.save(change_url(connection), **{button: "x"})

    assert response["Location"] == (next_page or change_url(connection))
    assert messages(response) == ["Nothing was changed in Stripe Connection (sc_abc123)."]


@ONE_DATABASE
def test_saving_a_change_shows_that_it_was_saved(staff, connection):
    response = staff.save(change_url(connection), connection_name="New")

    assert "was changed successfully" in messages(response)[0]


@ONE_DATABASE
def test_line_endings_of_the_browser_are_not_a_change(staff, workspace, make_connection, stored):
    config = '{\n"a":\r\n1}'
    connection = make_connection(workspace, config_json=config, connection_description="a\nb")
    before = stored(connection)

    staff.save(
        change_url(connection),
        config_json='{\r\n"a":\r\n1}',
        connection_description="a\r\nb",
    )

    assert stored(connection) == before


@ONE_DATABASE
def test_empty_description_stays_empty_and_does_not_become_null(
    staff, workspace, make_connection, stored
):
    connection = make_connection(workspace, connection_description="")

    staff.save(change_url(connection), connection_name="New")

    assert stored(connection)["connection_description"] == ""


@ONE_DATABASE
def test_invalid_stored_value_does_not_block_another_change(
    staff, workspace, make_connection, stored
):
    connection = make_connection(workspace, partner_endpoint="https://old.internal/")

    response = staff.save(change_url(connection), connection_name="New")

    assert response.status_code == 302
    assert stored(connection)["connection_name"] == "New"


def test_change_is_recorded_with_the_admin_as_its_source(staff, connection):
    staff.save(change_url(connection), connection_name="New")

    record = LogEntry.objects.get()
    assert record.changes == {"connection_name": ["Stripe Connection", "New"]}
    assert record.actor.username == "staff"
    assert record.cid == "request-1"
    assert record.additional_data == {"source": "admin", "username": "staff", "version": 2}


@ONE_DATABASE
def test_form_shows_hint_fingerprint_and_age_but_no_secret(staff, connection):
    saved = secrets_of(connection)

    page = text(staff.get(change_url(connection)))

    assert saved.api_key_hint in page
    assert saved.api_key_fingerprint in page
    assert "0\xa0minutes ago" in page
    assert plain(saved, "api_key") not in page
    assert plain(saved, "webhook_secret") not in page


@ONE_DATABASE
def test_form_decrypts_nothing(staff, connection, monkeypatch):
    monkeypatch.setattr(Fernet, "_decrypt_data", None)

    assert staff.save(change_url(connection), api_key=random_api_key()).status_code == 302


@ONE_DATABASE
def test_secret_must_be_typed_again_after_an_error(staff, connection, stored):
    before = stored(connection)
    typed = {"api_key": random_api_key(), "stripe_account_id": "we_123"}

    response = staff.save(change_url(connection), **typed)

    form = response.context_data["adminform"].form
    assert list(form.errors) == ["stripe_account_id", "api_key"]
    assertContains(response, "a page never shows a secret: type it again", 1)
    assert stored(connection) == before


@ONE_DATABASE
def test_refused_secret_is_not_shown_again(staff, connection):
    typed = "pk_" + "live_" + "canary"

    page = text(staff.save(change_url(connection), api_key=typed, connection_name="Kept"))

    assert typed not in page
    assert 'value="Kept"' in page


@ONE_DATABASE
def test_read_only_fields_cannot_be_posted(staff, connection, other_workspace, stored):
    names = "biz_id", "version", "created_at", "updated_at", "workspace", "api_key_hint"
    outcome = "verification", "verification_account_id", "verification_fingerprint", "outcome"
    before = stored(connection)

    posted = dict.fromkeys(names, other_workspace.pk) | dict.fromkeys(outcome, "verified")
    response = staff.save(change_url(connection), **posted)

    assert response.status_code == 302
    assert stored(connection) == before


@ONE_DATABASE
def test_unreadable_secret_is_marked_and_can_be_replaced(staff, connection, damage):
    damage(connection)
    secret = random_api_key()
    page = text(staff.get(change_url(connection)))

    response = staff.save(change_url(connection), api_key=secret)

    assert page.count("badge unreadable") == 1
    assert response.status_code == 302
    assert plain(secrets_of(connection), "api_key") == secret
    assert "badge unreadable" not in text(staff.get(change_url(connection)))


@ONE_DATABASE
def test_other_fields_of_an_unreadable_connection_can_be_changed(staff, connection, damage, stored):
    damage(connection, "webhook_secret")

    staff.save(change_url(connection), connection_name="New")

    assert stored(connection)["connection_name"] == "New"
    assert stored(connection)["webhook_secret"] == b"damaged"


@pytest.mark.parametrize("key", ["0", "x", "9" * 40, "1_1"])
def test_missing_connection_redirects(staff, connection, key):
    assert staff.get(f"{LIST}{key}/change/").status_code == 302
    assert staff.get(f"{LIST}{key}/history/").status_code == 302


def test_locked_row_is_a_503_and_nothing_is_saved(staff, connection, stored):
    before = stored(connection)
    form = staff.form(change_url(connection))

    with database.execute_wrapper(refuse_writing):
        response = staff.post(change_url(connection), form | {"connection_name": "New"})

    assert response.status_code == 503
    assert response["Retry-After"] == "1"
    assert "no-store" in response["Cache-Control"]
    assert "Nothing was saved" in text(response)
    assert stored(connection) == before


def refuse_writing(execute, sql, params, many, context):
    """Fail as if the lock timeout had expired."""
    if re.search('UPDATE "?stripe_connections_stripeconnection', sql):
        raise OperationalError("canceling statement due to lock timeout")
    return execute(sql, params, many, context)


@ONE_DATABASE
def test_form_links_to_tenant_workspace_and_stripe(staff, connection):
    page = text(staff.get(change_url(connection)))

    assert f'<a href="/admin/workspaces/tenant/{connection.workspace.tenant_id}/change/">' in page
    assert f'<a href="/admin/workspaces/workspace/{connection.workspace_id}/change/">' in page
    assert 'href="https://dashboard.stripe.com/acct_1234567890/dashboard"' in page


@ONE_DATABASE
def test_link_for_a_test_key_opens_the_test_mode(staff, connection):
    staff.save(change_url(connection), api_key=random_api_key("sk_test_"), allow_mode_change="on")

    page = text(staff.get(change_url(connection)))

    assert 'href="https://dashboard.stripe.com/acct_1234567890/test/dashboard"' in page


@ONE_DATABASE
def test_form_without_an_account_does_not_link_to_stripe(staff, workspace, make_connection):
    connection = make_connection(workspace, stripe_account_id=None)

    assert "dashboard.stripe.com" not in text(staff.get(change_url(connection)))


@ONE_DATABASE
@pytest.mark.parametrize(
    ("client", "buttons"),
    [("staff", ["verify", "deactivate"]), ("colleague", ["verify", "deactivate"]), ("support", [])],
)
def test_form_has_the_buttons_that_the_user_may_use(request, connection, settings, client, buttons):
    settings.STRIPE_VERIFY = True

    page = text(request.getfixturevalue(client).get(change_url(connection)))

    assert re.findall(r'name="action" value="(\w+)"', page) == buttons


@ONE_DATABASE
def test_inactive_connection_can_be_activated(staff, workspace, make_connection):
    connection = make_connection(workspace, status=Status.INACTIVE)

    page = text(staff.get(change_url(connection)))

    assert re.findall(r'name="action" value="(\w+)"', page) == ["activate"]


@ONE_DATABASE
def test_change_of_mode_needs_confirmation_without_verification_too(staff, connection, stored):
    before, secret = stored(connection), random_api_key("sk_test_")

    refused = staff.save(change_url(connection), api_key=secret)
    unchanged = stored(connection)
    saved = staff.save(change_url(connection), api_key=secret, allow_mode_change="on")

    assert "The stored key is a live key and this one a test key." in text(refused)
    assert 'type="checkbox" name="allow_mode_change"' in text(refused)
    assert unchanged == before
    assert saved.status_code == 302
    assert plain(secrets_of(connection), "api_key") == secret


def test_same_change_by_another_user_is_a_conflict(staff, colleague, connection, stored):
    form = colleague.form(change_url(connection)) | {"connection_name": "New"}
    staff.save(change_url(connection), connection_name="New")
    before = stored(connection)

    response = colleague.post(change_url(connection), form)

    assert "Somebody else changed this connection" in text(response)
    assert stored(connection) == before
