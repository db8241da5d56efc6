"""Actions on several connections."""

import csv
import io
import re

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import OperationalError

from stripe_connections import services
from stripe_connections.admin import actions, listing
from stripe_connections.models import Status, StripeConnection
from tests.conftest import plain
from tests.stripe_connections.admin.conftest import LIST, change_url, messages, text

ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the pages and the file")


@pytest.fixture
def inactive(workspace):
    return StripeConnection.objects.create(
        workspace=workspace, biz_id="sc_off", connection_name="Off", status=Status.INACTIVE
    )


@pytest.fixture
def exported(staff):
    def read(*connections, **data):
        chosen = [connection.pk for connection in connections]
        response = staff.post(LIST, {"action": "export", "_selected_action": chosen} | data)
        return response, list(csv.DictReader(io.StringIO(response.getvalue().decode())))

    return read


@pytest.mark.parametrize(
    ("action", "status"), [("activate", Status.ACTIVE), ("deactivate", Status.INACTIVE)]
)
def test_status_is_changed_through_the_service_layer(
    staff, connection, inactive, stored, action, status
):
    response = staff.act(action, connection, inactive, confirmed="yes")

    record = LogEntry.objects.get()
    assert messages(response) == [f"1 connection {action}d, 1 unchanged."]
    assert stored(connection)["status"] == stored(inactive)["status"] == status
    assert record.changes == {"status": [1 - status, status]}
    assert record.additional_data == {"source": "admin", "username": "staff", "version": 2}


@ONE_DATABASE
@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_status_is_changed_only_after_confirmation(staff, connection, inactive, stored, action):
    before = stored(connection), stored(inactive)

    page = staff.act(action, connection, inactive)

    touched = {"activate": "Off (sc_off)", "deactivate": "Stripe Connection (sc_abc123)"}[action]
    assert f"This will {action} 1 connection:" in text(page)
    assert touched in text(page)
    assert (stored(connection), stored(inactive)) == before


def test_confirmation_applies_only_to_the_listed_rows(staff, connection, inactive, make_connection):
    page = staff.act("deactivate", connection, select_across="1")
    later = make_connection(connection.workspace)
    form = {"action": "deactivate", "confirmed": "yes", "_selected_action": []}
    form["_selected_action"] = [row.pk for row in page.context["rows"]]

    staff.post(LIST, form)

    assert set(form["_selected_action"]) == {connection.pk, inactive.pk}
    assert StripeConnection.objects.get(pk=later.pk).status == Status.ACTIVE


@pytest.fixture
def low_threshold(monkeypatch):
    """Ask for confirmation above one connection."""
    monkeypatch.setattr(actions, "ASK_ABOVE", 1)


@ONE_DATABASE
@pytest.mark.parametrize(("action", "verb"), [("reencrypt", "re-encrypt"), ("export", "export")])
def test_action_on_many_needs_confirmation(
    staff, connection, inactive, stored, low_threshold, action, verb
):
    before = stored(connection), stored(inactive)

    page = staff.act(action, connection, inactive)

    assert f"This will {verb} 2 connections:" in text(page)
    assert (stored(connection), stored(inactive)) == before
    assert not LogEntry.objects.exists()


@ONE_DATABASE
def test_confirmed_action_is_applied(staff, connection, inactive, low_threshold):
    page = staff.act("reencrypt", connection, inactive)
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([\w-]+)"', text(page)))
    form["_selected_action"] = [row.pk for row in page.context["rows"]]

    response = staff.post(LIST, form)

    assert messages(response) == ["2 connections unchanged."]


@ONE_DATABASE
def test_action_on_a_full_list_can_be_confirmed(staff, workspace):
    rows = [StripeConnection(workspace=workspace, connection_name=f"{n}") for n in range(1_000)]
    StripeConnection.objects.bulk_create(rows)

    response = staff.act("activate", *rows, confirmed="yes")

    assert messages(response) == ["1000 connections unchanged."]


@ONE_DATABASE
@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_button_of_the_form_needs_confirmation_and_returns_to_the_form(staff, connection, action):
    button = {"action": action, "_selected_action": connection.pk, "from_form": "yes"}

    page = staff.post(LIST, button)
    response = staff.post(LIST, button | {"confirmed": "yes"})

    assert 'name="from_form" value="yes"' in text(page)
    assert change_url(connection) in text(page)
    assert response["Location"] == change_url(connection)


@ONE_DATABASE
def test_failures_are_counted_and_named(staff, connection, inactive, monkeypatch):
    def fail(**kwargs):
        raise OperationalError("locked")

    monkeypatch.setattr(services, "update_connection", fail)

    response = staff.act("deactivate", connection, inactive, confirmed="yes")

    assert messages(response) == ["1 connection unchanged, 1 failed: sc_abc123 (try again)."]


def test_reencryption_counts_changed_unchanged_and_failed(
    staff, workspace, connection, make_connection, damage, settings
):
    broken = make_connection(workspace, "sc_broken")
    damage(broken)
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    current = make_connection(workspace, "sc_current")

    response = staff.act("reencrypt", connection, broken, current)

    saved = StripeConnection.objects.get(pk=connection.pk)
    record = LogEntry.objects.get(object_repr="sc_abc123")
    assert messages(response) == [
        "1 connection re-encrypted, 1 unchanged, 1 failed: sc_broken (a secret is unreadable)."
    ]
    assert saved.api_key.position(saved) == 0
    assert record.changes["api_key"][1] == f"re-encrypted {connection.api_key_hint}"


@ONE_DATABASE
@pytest.mark.parametrize("action", ["activate", "deactivate", "reencrypt"])
def test_viewer_has_no_actions_that_write(support, connection, stored, action):
    before = stored(connection)

    response = support.act(action, connection, confirmed="yes")

    assert messages(response) == ["No action selected."]
    assert stored(connection) == before


@ONE_DATABASE
def test_export_has_the_columns_and_no_secret(exported, connection):
    saved = StripeConnection.objects.defer(None).get(pk=connection.pk)

    response, rows = exported(connection)

    assert response.streaming
    assert response.headers["Content-Disposition"] == 'attachment; filename="connections.csv"'
    assert rows[0]["bizId"] == "sc_abc123"
    assert rows[0]["tenantBizId"] == "tn_xyz789"
    assert rows[0]["status"] == "ACTIVE"
    assert rows[0]["apiKeyHint"] == saved.api_key_hint
    assert plain(saved, "api_key") not in str(rows)
    assert plain(saved, "webhook_secret") not in str(rows)


@ONE_DATABASE
def test_export_is_recorded_and_counted(staff, exported, connection, inactive):
    response, _ = exported(connection, inactive)

    record = LogEntry.objects.get()
    assert (record.action, record.object_repr) == (LogEntry.Action.ACCESS, "2 connections")
    assert record.additional_data == {"source": "admin", "username": "staff"}
    assert messages(response) == ["2 connections exported."]


def test_export_of_all_has_as_many_rows_as_the_list_says(staff, exported, workspace, monkeypatch):
    """More than one page, and fewer than there are."""
    monkeypatch.setattr(listing, "MAX_LISTED", 60)
    StripeConnection.objects.bulk_create(
        StripeConnection(workspace=workspace, connection_name=f"Number {n:02}") for n in range(70)
    )

    page = staff.get(LIST, {"o": "1"})
    response, rows = exported(select_across="1", _selected_action=[1])

    assert "Select all 60 connections" in text(page)
    assert messages(response) == ["60 connections exported."]
    assert [row["connectionName"] for row in rows] == [f"Number {n:02}" for n in range(69, 9, -1)]


@ONE_DATABASE
def test_export_decrypts_nothing(exported, connection, monkeypatch):
    monkeypatch.setattr(Fernet, "_decrypt_data", None)

    assert len(exported(connection)[1]) == 1


@ONE_DATABASE
@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_formula_is_escaped(exported, workspace, make_connection, name):
    connection = make_connection(workspace, connection_name=name)

    _, rows = exported(connection)

    assert rows[0]["connectionName"] == f"\\{name}"


def test_export_can_be_imported_and_changes_nothing(staff, connection, tmp_path, stored):
    before = stored(connection)
    response = staff.post(LIST, {"action": "export", "_selected_action": [connection.pk]})
    file = tmp_path / "connections.csv"
    file.write_bytes(response.getvalue())

    call_command("import_connections", str(file), "--apply")

    assert stored(connection) == before
