"""A secret that was reported as leaked is deleted and refused until the report is lifted."""

import json

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet

from stripe_connections import services
from stripe_connections.models import LeakedSecret, ReplacedSecret, StripeConnection
from stripe_connections.secrets.columns import hint_of
from stripe_connections.undo import leaks
from tests.conftest import connections_path, random_api_key, random_webhook_secret
from tests.stripe_connections.admin.conftest import (
    ADD,
    AUDIT,
    FIND,
    change_url,
    colleague,
    make_staff,
    messages,
    staff,
    text,
)
from tests.stripe_connections.bulk.conftest import new_key, run
from tests.stripe_connections.undo.conftest import ACTOR, current, replace, restore

__all__ = ["colleague", "make_staff", "new_key", "staff"]
NEW = random_api_key()
PAGE = pytest.mark.only_on("sqlite", reason="the pages of the admin do not depend on the database")


@pytest.fixture
def leaked(replaced):
    """A connection whose previous key was reported as leaked, and the key."""
    connection, old, _ = replaced
    leaks.report(old, ACTOR)
    return connection, old


def refused(response):
    body = response.json()
    return (response.status_code, body["code"]) == (409, "4090") and "errors" not in body


def test_kept_copies_are_deleted_and_cannot_be_restored(leaked):
    connection, _ = leaked

    assert not ReplacedSecret.objects.exists()
    with pytest.raises(Exception, match="no replaced secret"):
        restore(connection)


def test_copy_that_was_kept_after_the_report_is_not_restored(manager, replaced):
    """A process with an older version of the code could keep one."""
    _, old, new = replaced
    row = ReplacedSecret.objects.get()
    leaks.report(old, ACTOR)
    row.save(force_insert=True)
    body = {"connectionBizId": "sc_abc123", "field": "apiKey"}
    response = manager.post(f"{connections_path()}/restore", body, content_type="application/json")

    assert refused(response)
    assert current() == new


def test_update_with_a_leaked_secret_is_refused(manager, leaked, stored):
    connection, old = leaked
    before = stored(connection)
    response = manager.update(
        {"connectionBizId": "sc_abc123", "connectionName": "New", "apiKey": old}
    )

    assert refused(response)
    assert stored(connection) == before


def test_update_of_another_workspaces_connection_is_refused(
    outsider, leaked, other_workspace, make_connection
):
    make_connection(other_workspace, "sc_other")
    body = {"connectionBizId": "sc_other", "apiKey": leaked[1]}

    assert refused(outsider.update(body, "ws_other"))


def test_creation_with_a_leaked_secret_is_refused(manager, leaked):
    body = {"connectionName": "New", "apiKey": leaked[1]}
    response = manager.post(f"{connections_path()}/create", body, content_type="application/json")

    assert refused(response)
    assert StripeConnection.objects.count() == 1


@pytest.mark.parametrize(
    ("biz_id", "etag", "status"), [("sc_unknown", None, 404), ("sc_abc123", '"1"', 412)]
)
def test_other_errors_have_priority(manager, leaked, biz_id, etag, status):
    headers = {"If-Match": etag} if etag else {}
    body = {"connectionBizId": biz_id, "apiKey": leaked[1]}

    assert manager.update(body, headers=headers).status_code == status


def test_leaked_webhook_secret_is_refused(manager, connection):
    secret = random_webhook_secret()
    leaks.report(secret, ACTOR)
    body = {"connectionBizId": "sc_abc123", "apiKey": NEW, "webhookSecret": secret}

    assert refused(manager.update(body))


def test_report_survives_a_rotation(manager, leaked, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]

    assert refused(manager.update({"connectionBizId": "sc_abc123", "apiKey": leaked[1]}))


def test_connection_with_a_leaked_key_can_get_a_new_one(manager, connection):
    leaks.report(current(), ACTOR)
    body = {"connectionBizId": "sc_abc123", "connectionName": "New", "apiKey": NEW}

    assert manager.update(body).status_code == 200
    assert current() == NEW


def test_report_and_lift_are_recorded(leaked):
    _, old = leaked
    leaks.lift(old, ACTOR)
    texts = [entry.changes["secrets"][1] for entry in LogEntry.objects.order_by("-pk")[:2]]

    assert texts == [f"not leaked {hint_of(old)}", f"leaked {hint_of(old)}"]


@PAGE
@pytest.mark.parametrize("page", ["/admin/", AUDIT])
def test_pages_of_the_audit_show_the_report(staff, leaked, page):
    shown = text(staff.get(page))

    assert "Secrets" in shown
    assert f"leaked {hint_of(leaked[1])}" in shown


def test_second_report_is_not_recorded(leaked):
    leaks.report(leaked[1], ACTOR)

    assert LogEntry.objects.filter(changes__secrets__isnull=False).count() == 1


@pytest.mark.parametrize(
    ("options", "stdin"), [((), f"\n{NEW}\n"), (("--deactivate",), "\n")], ids=["new", "deactivate"]
)
def test_command_replaces_the_secret_deletes_copies_and_reports_it(connection, options, stdin):
    leaked = current()
    result = run("replace_secret", "--leaked", *options, "--apply", stdin=leaked + stdin)

    assert result.counts == (1, 0, 0, 0)
    assert not ReplacedSecret.objects.exists()
    assert LeakedSecret.objects.count() == 1


def test_command_reports_a_secret_that_is_only_kept(replaced):
    _, old, new = replaced
    result = run("replace_secret", "--leaked", "--deactivate", "--apply", stdin=old)

    assert (result.code, result.counts) == (0, (0, 0, 0, 0))
    assert not ReplacedSecret.objects.exists()
    assert current() == new


def test_output_says_that_the_secret_was_reported(connection):
    options = ("--leaked", "--deactivate", "--apply", "--format", "text")

    assert "marked as leaked" in run("replace_secret", *options, stdin=current()).out


def test_dry_run_reports_and_deletes_nothing(replaced):
    _, old, _ = replaced
    run("replace_secret", "--leaked", "--deactivate", stdin=old)

    assert ReplacedSecret.objects.exists()
    assert not LeakedSecret.objects.exists()


def test_lifted_secret_can_be_saved(manager, leaked):
    _, old = leaked
    body = {"connectionBizId": "sc_abc123", "apiKey": old}
    run("replace_secret", "--lift", stdin=old)
    assert refused(manager.update(body))

    assert run("replace_secret", "--lift", "--apply", stdin=old).counts == (1, 0, 0, 0)
    assert manager.update(body).status_code == 200
    assert run("replace_secret", "--lift", "--apply", stdin=old).counts == (0, 1, 0, 0)


def test_import_of_a_leaked_secret_fails(leaked):
    row = {"workspaceId": "ws_demo", "bizId": "sc_abc123", "apiKey": leaked[1]}
    result = run("import_connections", "-", "--apply", stdin=json.dumps(row))

    assert result.counts == (0, 0, 0, 1)
    assert "reported as leaked" in result.json["rows"][0]["error"]
    assert leaked[1] not in result.everything


@PAGE
def test_secret_can_be_reported_in_the_admin(staff, replaced):
    _, old, _ = replaced
    response = staff.post(FIND, {"secret": old, "leaked": "x"})

    assert messages(response)[0].startswith("Nobody can save or restore this secret")
    assert old not in text(response)
    assert not ReplacedSecret.objects.exists()


@PAGE
def test_finding_a_key_does_not_report_it(staff, replaced):
    staff.post(FIND, {"secret": replaced[1]})

    assert ReplacedSecret.objects.exists()


@PAGE
def test_user_who_may_not_replace_secrets_cannot_report_one(colleague, replaced):
    assert "leaked" not in text(colleague.get(FIND))
    response = colleague.post(FIND, {"secret": replaced[1], "leaked": "x"})

    assert response.status_code == 403
    assert ReplacedSecret.objects.exists()


@PAGE
def test_form_refuses_a_leaked_secret(staff, leaked):
    connection, old = leaked
    response = staff.save(change_url(connection), api_key=old)

    assert response.status_code == 200
    assert "reported as leaked" in text(response)
    assert old not in text(response)


@PAGE
def test_form_of_a_new_connection_refuses_a_leaked_secret(staff, leaked, workspace):
    typed = {"workspace": str(workspace.pk), "connection_name": "New", "status": "1"}
    response = staff.save(ADD, api_key=leaked[1], **typed)

    assert "reported as leaked" in text(response)
    assert StripeConnection.objects.count() == 1


def test_error_of_the_service_has_the_field(leaked):
    with pytest.raises(leaks.LeakedSecretError) as caught:
        replace(leaked[0], api_key=leaked[1])

    assert caught.value.field == "api_key"
    assert leaked[1] not in str(caught.value)
    with pytest.raises(services.ConnectionNotFoundError):
        services.update_connection(
            workspace=leaked[0].workspace,
            biz_id="sc_x",
            changes={"api_key": leaked[1]},
            actor=ACTOR,
        )
