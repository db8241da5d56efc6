"""`import_connections` imports all rows or none; importing an export changes nothing."""

import csv
import io
import json

import pytest
from auditlog.models import LogEntry
from django.core.management import call_command

from stripe_connections import services
from stripe_connections.models import StripeConnection
from tests.conftest import plain, random_api_key, random_webhook_secret
from tests.stripe_connections.bulk.conftest import run

GOOD = {"workspaceId": "ws_demo", "bizId": "sc_abc123", "connectionName": "New"}
AWKWARD = [
    None,
    "",
    "\\",
    "\\N",
    "\\\\N",
    "N",
    "=1+1",
    "+49 30",
    "-",
    "@SUM(A1)",
    "'quoted'",
    ' a "b", c; ',
    "\tx\r\ny\rz\n",
    "null",
    "ünï 😀",
]


def imported(text, *arguments):
    return run("import_connections", "-", *arguments, stdin=text)


def table(*rows):
    """Return a CSV file with these rows."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def exported(form):
    return run("export_connections", "--format", form).out


def unexpected(parts, errors):
    """Return the errors that do not contain the expected part."""
    pairs = zip(parts, errors, strict=True)
    return [(part, error) for part, error in pairs if part not in error]


@pytest.fixture
def everything(connection, other_workspace, make_connection):
    """Connections with every awkward text, and one with only a name."""
    for text in AWKWARD:
        make_connection(other_workspace, connection_description=text)
    make_connection(
        other_workspace,
        connection_name="=cmd|'/C calc'!A0",
        config_json='{"a": "x,\\"y\\""}',
        partner_endpoint=None,
        stripe_account_id=None,
        status=0,
    )
    StripeConnection.objects.create(workspace=other_workspace, connection_name="Empty")


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_export_can_be_imported_without_a_change(everything, stored, form):
    before = [stored(connection) for connection in StripeConnection.objects.all()]

    result = imported(exported(form), "--apply")

    assert result.counts == (0, len(before), 0, 0)
    assert [stored(connection) for connection in StripeConnection.objects.all()] == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("form", ["csv", "json"])
def test_export_can_be_imported_after_a_change(everything, form):
    text = exported(form)
    connections = StripeConnection.objects.order_by("pk")
    values = list(connections.values_list("biz_id", "connection_description"))
    run("update_connections", "--apply", "--set", "connectionDescription=Changed")
    StripeConnection.objects.update(version=1)

    result = imported(text, "--apply")

    assert result.counts == (len(values), 0, 0, 0)
    assert list(connections.values_list("biz_id", "connection_description")) == values


@pytest.mark.parametrize("form", ["csv", "json"])
def test_export_contains_no_secret(connection, form):
    loaded = StripeConnection.objects.defer(None).get(pk=connection.pk)

    text = exported(form)

    assert plain(loaded, "api_key") not in text
    assert plain(loaded, "webhook_secret") not in text
    assert loaded.api_key_hint in text
    assert loaded.api_key_fingerprint in text


def test_export_contains_no_formula(everything):
    cells = [cell for row in csv.reader(io.StringIO(exported("csv"))) for cell in row]

    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_export_can_be_filtered(everything):
    rows = run("export_connections", "--workspace", "ws_demo", "--format", "json").out
    ids = run("export_connections", "--ids", "-", "--format", "json", stdin="sc_abc123").out

    assert json.loads(rows)["bizId"] == "sc_abc123"
    assert ids == rows


@pytest.mark.only_on("postgresql", reason="a statement has at most 65,535 parameters")
def test_export_of_many_picked_rows(connection):
    ids = "\n".join([*(f"sc_{number}" for number in range(70_000)), "sc_abc123"])

    out = run("export_connections", "--ids", "-", "--format", "json", stdin=ids).out

    assert json.loads(out)["bizId"] == "sc_abc123"


def test_export_is_streamed(connection, monkeypatch):
    written = []

    class Out(io.StringIO):
        def write(self, text):
            written.append(text)
            return len(text)

    call_command("export_connections", stdout=Out())

    assert len(written) == 2


def test_file_with_only_a_header_changes_nothing(workspace):
    result = imported("workspaceId,bizId\n", "--apply")

    assert (result.code, result.counts) == (0, (0, 0, 0, 0))


def test_row_is_matched_by_business_id(connection):
    text = table(["workspaceId", "bizId", "connectionName"], ["ws_demo", "sc_abc123", "New"])

    result = imported(text, "--apply")

    connection.refresh_from_db()
    assert result.counts == (1, 0, 0, 0)
    assert (connection.connection_name, connection.version) == ("New", 2)


def test_row_is_matched_by_workspace_and_name(connection):
    text = '{"workspaceId": "ws_demo", "connectionName": "Stripe Connection", "status": "INACTIVE"}'

    assert imported(text, "--apply").counts == (1, 0, 0, 0)
    connection.refresh_from_db()
    assert connection.status == 0


def test_empty_cell_does_not_change_the_field(connection, stored):
    before = stored(connection)
    text = table(
        ["workspaceId", "bizId", "connectionDescription", "partnerEndpoint", "apiKey"],
        ["ws_demo", "sc_abc123", "", "", ""],
    )

    assert imported(text, "--apply").counts == (0, 1, 0, 0)
    assert stored(connection) == before


@pytest.mark.parametrize(("cell", "value"), [("\\N", None), ("\\", "")])
def test_null_and_empty_text_are_different(connection, cell, value):
    text = table(["workspaceId", "bizId", "connectionDescription"], ["ws_demo", "sc_abc123", cell])

    imported(text, "--apply")

    connection.refresh_from_db()
    assert connection.connection_description == value


def test_new_connection_is_created_once(workspace):
    key, secret = random_api_key(), random_webhook_secret()
    text = table(
        ["workspaceId", "connectionName", "apiKey", "webhookSecret"],
        ["ws_demo", "Fresh", key, secret],
    )

    first, second = imported(text, "--apply"), imported(text, "--apply")

    created = StripeConnection.objects.defer(None).get()
    assert (first.counts, second.counts) == ((1, 0, 0, 0), (0, 1, 0, 0))
    assert (created.connection_name, plain(created, "api_key")) == ("Fresh", key)
    assert plain(created, "webhook_secret") == secret
    assert LogEntry.objects.get().action == LogEntry.Action.CREATE
    assert key not in first.everything + str(LogEntry.objects.values())


def test_new_connection_keeps_its_business_id(workspace):
    text = '{"workspaceId": "ws_demo", "bizId": "sc_restored", "connectionName": "Old"}'

    assert imported(text, "--apply").counts == (1, 0, 0, 0)
    assert StripeConnection.objects.get().biz_id == "sc_restored"


def test_dry_run_creates_nothing(workspace):
    result = imported('{"workspaceId": "ws_demo", "connectionName": "Fresh"}')

    assert result.counts == (1, 0, 0, 0)
    assert not StripeConnection.objects.exists()


def test_connection_that_changed_after_the_export_is_not_overwritten(connection, stored):
    text = exported("csv").replace("As it was", "From the file")
    run("update_connections", "--apply", "--set", "connectionName=Meanwhile")
    before = stored(connection)

    result = imported(text, "--apply")

    assert (result.code, result.counts) == (1, (0, 0, 0, 1))
    assert "It has changed since the export (version 1, now 2)" in result.json["rows"][0]["error"]
    assert stored(connection) == before


BAD = [
    ({"workspaceId": "ws_other", "bizId": "sc_abc123"}, "is in another workspace"),
    ({"workspaceId": "ws_none", "connectionName": "x"}, "The workspace does not exist"),
    ({**GOOD, "tenantBizId": "tn_other"}, "or it belongs to another tenant"),
    ({"bizId": "sc_abc123"}, "workspaceId is required"),
    ({"workspaceId": "ws_demo"}, "bizId or connectionName is required"),
    ({"workspaceId": "ws_demo", "bizId": "sc_none"}, "A new one needs a connectionName"),
    ({**GOOD, "bizId": "=cmd()"}, "bizId must be sc_ followed by letters and digits"),
    ({**GOOD, "bizId": 1}, "bizId must be sc_"),
    ({**GOOD, "workspaceId": 1}, "workspaceId is required"),
    ({**GOOD, "version": "x"}, "version must be a number"),
    ({**GOOD, "connectionName": None}, "connectionName: "),
    ({**GOOD, "connectionName": 1}, "connectionName: "),
    ({**GOOD, "apiKey": None}, "apiKey: "),
    ({**GOOD, "apiKey": "pk_" + "live_" + "a" * 20}, "apiKey: This is a publishable key"),
    ({**GOOD, "partnerEndpoint": "https://10.0.0.1/"}, "The host must be public"),
    ({**GOOD, "configJson": "[]"}, "configJson: "),
    ({**GOOD, "status": 7}, "status: Must be INACTIVE or ACTIVE."),
    ({**GOOD, "apikey": "x"}, "1 unknown columns"),
    ([1], "The line is not a JSON object"),
]


def test_one_bad_row_stops_the_import(connection, other_workspace, stored):
    def refuse(row):
        rows = [{"workspaceId": "ws_demo", "connectionName": "Good"}, row]
        result = imported("\n".join(map(json.dumps, rows)), "--apply")
        [failed] = result.json["rows"]
        return result.code, result.counts, "run" in result.json, failed["line"], failed["error"]

    before = stored(connection)
    found = [refuse(row) for row, _ in BAD]

    assert {facts[:-1] for facts in found} == {(1, (0, 0, 1, 1), False, 2)}
    assert unexpected([error for _, error in BAD], [facts[-1] for facts in found]) == []
    assert stored(connection) == before
    assert StripeConnection.objects.count() == 1


def test_good_rows_are_imported_with_keep_going(connection):
    rows = [{"bizId": "sc_abc123"}, GOOD, {"workspaceId": "ws_none", "connectionName": "x"}]

    result = imported("\n".join(map(json.dumps, rows)), "--apply", "--keep-going")

    assert (result.code, result.counts) == (1, (1, 0, 0, 2))
    assert [row.get("line") for row in result.json["rows"]] == [1, None, 3]


@pytest.mark.parametrize(
    "second",
    [
        GOOD,
        {"workspaceId": "ws_demo", "connectionName": "Stripe Connection", "status": "INACTIVE"},
    ],
    ids=["by id", "by name"],
)
def test_same_connection_twice_is_refused(connection, stored, second):
    before = stored(connection)

    result = imported("\n".join(map(json.dumps, [GOOD, second])), "--apply")

    error = {"line": 2, "error": "Line 1 has the same connection."}
    assert (result.json["rows"][0] | error) == result.json["rows"][0]
    assert stored(connection) == before


def test_interrupted_import_can_be_continued_with_keep_going(workspace, monkeypatch):
    rows = [{"workspaceId": "ws_demo", "connectionName": name} for name in ("one", "two", "three")]
    text = "\n".join(map(json.dumps, rows))
    arguments = ("--apply", "--keep-going", "--batch-size", "1")
    original = services.create_connections

    def interrupted(new, actor):
        if new[0].values["connection_name"] == "three":
            raise KeyboardInterrupt
        original(new, actor)

    with monkeypatch.context() as patch:
        patch.setattr(services, "create_connections", interrupted)
        first = imported(text, *arguments)
    second = imported(text, *arguments)

    assert (first.code, first.counts) == (130, (2, 0, 0, 0))
    assert second.counts == (1, 2, 0, 0)


def test_progress_counts_rows_instead_of_lines(connection):
    header = ["workspaceId", "bizId", "connectionDescription"]
    text = table(header, ["ws_demo", "sc_abc123", "two\nlines"], [], ["ws_none", "sc_none", ""])

    result = imported(text, "--apply", "--keep-going", "--batch-size", "1")

    assert result.err == "1 of 2\n2 of 2\n"


@pytest.mark.parametrize("size", ["1", "2"])
def test_new_connection_twice_in_a_file_is_refused(workspace, size):
    row = json.dumps({"workspaceId": "ws_demo", "connectionName": "Fresh"})

    result = imported(f"{row}\n{row}", "--apply", "--batch-size", size)

    assert result.json["rows"][0]["error"] == "Line 1 has the same connection."
    assert not StripeConnection.objects.exists()


def test_ambiguous_name_is_refused(workspace, make_connection):
    make_connection(workspace)
    make_connection(workspace)
    text = '{"workspaceId": "ws_demo", "connectionName": "Stripe Connection"}'

    result = imported(text, "--apply")

    assert result.json["rows"][0]["error"] == "Several connections have this name. Add the bizId."


def test_filtered_rows_are_skipped(connection, other_workspace, make_connection):
    make_connection(other_workspace, "sc_other")
    rows = [
        GOOD,
        {"workspaceId": "ws_other", "bizId": "sc_other", "connectionName": "New"},
        {"workspaceId": "ws_other", "connectionName": "Fresh"},
    ]

    result = imported("\n".join(map(json.dumps, rows)), "--apply", "--tenant", "tn_xyz789")

    assert (result.code, result.counts) == (0, (1, 0, 2, 0))
    assert list(StripeConnection.objects.filter(connection_name="New")) == [connection]


def test_hostile_text_is_not_repeated(workspace):
    key = random_api_key()

    result = imported(table([key], [key]), "--format", "text")

    assert result.code == 1
    assert key not in result.everything


def test_missing_file_is_reported():
    problem = run("import_connections", "/nowhere/file").problem

    assert problem == "/nowhere/file cannot be read: No such file or directory."


def test_interrupted_import_writes_nothing(workspace, monkeypatch):
    rows = [{"workspaceId": "ws_demo", "connectionName": name} for name in ("first", "second")]
    original = services.create_connections

    def interrupted(new, actor):
        if new[0].values["connection_name"] == "second":
            raise KeyboardInterrupt
        original(new, actor)

    monkeypatch.setattr(services, "create_connections", interrupted)
    result = imported("\n".join(map(json.dumps, rows)), "--apply", "--batch-size", "1")

    assert (result.code, result.json["changed"]) == (130, 0)
    assert not StripeConnection.objects.exists()
