"""What all bulk commands have in common: selection, batches, output and failures."""

import errno
import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import connections

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from tests.production import PRODUCTION
from tests.stripe_connections.bulk.conftest import Holder, run

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (
    "rotate_secrets",
    "census_secrets",
    "replace_secret",
    "update_connections",
    "import_connections",
    "export_connections",
    "check_connections",
    "verify_connections",
)
RENAME = ("update_connections", "--set", "connectionName=New")
OUTPUT = pytest.mark.only_on("sqlite", reason="the output does not depend on the database")


@pytest.fixture
def rows(workspace, sibling_workspace, other_workspace, make_connection):
    """Four connections that differ in every value that can be filtered."""
    make_connection(workspace, "sc_one", stripe_account_id="acct_1")
    make_connection(sibling_workspace, "sc_two", stripe_account_id="acct_2", status=0)
    make_connection(other_workspace, "sc_three", partner_endpoint="https://bücher.example:8443/a")
    four = make_connection(other_workspace, "sc_four", partner_endpoint="https://PARTNER.example")
    four.replace_secret("api_key", "rk_" + "test_" + "b" * 24)
    four.save()


def picked(*arguments, stdin=""):
    return {row["bizId"] for row in run(*RENAME, *arguments, stdin=stdin).json["rows"]}


FILTERS = {
    (): {"sc_one", "sc_two", "sc_three", "sc_four"},
    ("--tenant", "tn_xyz789"): {"sc_one", "sc_two"},
    ("--workspace", "ws_sibling"): {"sc_two"},
    ("--workspace", "ws_sibling", "--workspace", "ws_demo"): {"sc_one", "sc_two"},
    ("--status", "inactive"): {"sc_two"},
    ("--status", "ACTIVE", "--tenant", "tn_xyz789"): {"sc_one"},
    ("--mode", "test"): {"sc_four"},
    ("--mode", "live"): {"sc_one", "sc_two", "sc_three"},
    ("--account", "acct_2"): {"sc_two"},
    ("--endpoint-host", "partner.example"): {"sc_four"},
    ("--endpoint-host", "xn--bcher-kva.example"): {"sc_three"},
    ("--endpoint-host", "bücher.example"): {"sc_three"},
    ("--endpoint-host", "example"): set(),
    ("--endpoint-host", "artner.example"): set(),
}


def test_rows_are_filtered(rows):
    assert {arguments: picked(*arguments) for arguments in FILTERS} == FILTERS


def test_ids_are_read_from_standard_input(rows):
    assert picked("--ids", "-", stdin="sc_one\n\n sc_two \nsc_one\n") == {"sc_one", "sc_two"}


def test_ids_are_read_from_a_file(rows, tmp_path):
    (tmp_path / "ids").write_bytes(b"\xef\xbb\xbfsc_three\r\n")

    assert picked("--ids", str(tmp_path / "ids")) == {"sc_three"}


def test_unknown_id_fails_and_filtered_id_is_skipped(rows):
    result = run(*RENAME, "--ids", "-", "--status", "ACTIVE", stdin="sc_one\nsc_two\nsc_none")

    assert result.counts == (1, 0, 1, 1)
    assert result.code == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--tenant", "tn_none"), "There is no tenant tn_none."),
        (("--workspace", "ws_none"), "There is no workspace ws_none."),
        (("--ids", "/nowhere/ids"), "/nowhere/ids cannot be read: No such file or directory."),
        (("--batch-size", "0"), "Error: argument --batch-size: must be between 1 and 5000"),
    ],
)
def test_bad_selection_is_refused(rows, arguments, problem):
    result = run(*RENAME, "--apply", *arguments)

    assert (result.code, result.problem) == (1, problem)
    assert not StripeConnection.objects.filter(connection_name="New").exists()


@OUTPUT
def test_ids_that_are_not_utf8_are_refused(rows):
    assert run(*RENAME, "--ids", "-", stdin=b"\xff").problem == "The business IDs are not UTF-8."


@pytest.mark.parametrize("size", ["1", "3", "4", "1000"])
def test_every_row_is_in_one_batch(rows, size):
    result = run(*RENAME, "--apply", "--batch-size", size)

    assert result.counts == (4, 0, 0, 0)
    assert set(StripeConnection.objects.values_list("version", flat=True)) == {2}


def test_dry_run_writes_nothing(connection, stored):
    before = stored(connection)

    result = run(*RENAME, "--format", "text")

    assert stored(connection) == before
    assert "connectionName: 'Stripe Connection' -> 'New'" in result.out
    assert "This was a dry run: nothing was written. Add --apply to write." in result.out


@OUTPUT
def test_json_is_one_object_on_one_line(connection):
    result = run(*RENAME, "--apply")

    assert result.out.count("\n") == 1
    assert result.json["applied"] is True
    assert result.json["rows"] == [
        {
            "outcome": "changed",
            "bizId": "sc_abc123",
            "changes": {"connectionName": ["Stripe Connection", "New"]},
        }
    ]


@OUTPUT
def test_progress_is_written_in_plain_lines(rows):
    result = run(*RENAME, "--batch-size", "2", "--format", "text")

    assert result.err == "2 of 4\n4 of 4\n"
    assert result.out.splitlines()[-2].startswith("4 changed, 0 unchanged, 0 skipped, 0 failed in ")


@OUTPUT
@pytest.mark.parametrize(
    ("verbosity", "lines"), [("0", 0), ("1", 21), ("2", 30)], ids=["quiet", "usual", "all"]
)
def test_text_output_has_the_first_rows_and_the_counts(
    workspace, make_connection, verbosity, lines
):
    StripeConnection.objects.bulk_create(
        StripeConnection(workspace=workspace, connection_name="Old") for _ in range(30)
    )

    result = run(*RENAME, "--format", "text", "--verbosity", verbosity)

    assert len(result.out.splitlines()) == lines + 2
    assert result.out.splitlines()[-2].startswith("30 changed, ")


@OUTPUT
def test_every_failure_is_reported(rows):
    result = run(*RENAME, "--verbosity", "0", "--ids", "-", "--format", "text", stdin="sc_none")

    assert "failed  sc_none  The connection does not exist." in result.out


class ClosedOut(io.StringIO):
    """An output that is closed after the first line, like by `head -1`."""

    def write(self, text):
        if self.getvalue():
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


def test_command_stops_after_the_batch_if_the_output_is_closed(rows):
    err = io.StringIO()

    with pytest.raises(CommandError, match="Broken pipe") as error:
        call_command(*RENAME, "--apply", "--batch-size", "2", stdout=ClosedOut(), stderr=err)

    assert error.value.returncode == 1
    assert err.getvalue().splitlines()[-1].startswith("2 changed, 0 unchanged, 0 skipped, 0 failed")
    assert StripeConnection.objects.filter(version=2).count() == 2


def test_import_writes_nothing_if_the_output_is_closed(workspace, monkeypatch):
    lines = [json.dumps({"workspaceId": "ws_demo", "connectionName": f"New {n}"}) for n in range(4)]
    err = io.StringIO()

    stdin = io.TextIOWrapper(io.BytesIO("\n".join(lines).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(CommandError, match="Broken pipe"):
        call_command("import_connections", "-", "--apply", stdout=ClosedOut(), stderr=err)

    assert "0 changed" in err.getvalue()
    assert not StripeConnection.objects.exists()


@OUTPUT
def test_export_ends_silently_if_the_output_is_closed(rows):
    err = io.StringIO()

    with pytest.raises(SystemExit, match="141"):
        call_command("export_connections", stdout=ClosedOut(), stderr=err)

    assert not err.getvalue()


@OUTPUT
def test_interrupted_export_is_reported(rows, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(read=interrupted)))
    with pytest.raises(CommandError, match="Interrupted") as error:
        call_command("export_connections", "--ids", "-")

    assert error.value.returncode == 130


@pytest.mark.parametrize(
    ("command", "closed", "error"),
    [
        ("update_connections --set status=GONE", "", "status: Must be INACTIVE or ACTIVE."),
        ("import_connections -", "<&-", "Standard input is closed."),
        ("export_connections", ">&-", "Standard output is closed."),
    ],
)
def test_failure_is_reported_in_one_line(command, closed, error):
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" manage.py {command} {closed}', sys.executable],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | PRODUCTION | {"DATABASE_URL": "sqlite://:memory:"},
    )

    assert (ended.returncode, ended.stderr) == (1, f"Error: {error}\n")


def test_row_that_changes_after_it_was_read_fails(rows, monkeypatch):
    original = services.update_connection

    def overtaken(**values):
        if values["biz_id"] == "sc_two":
            original(**values | {"changes": {"status": 1}, "expected_versions": None})
        return original(**values)

    monkeypatch.setattr(services, "update_connection", overtaken)
    result = run(*RENAME, "--apply")

    error = "Another transaction changed the row in the meantime. Run the command again."
    assert (result.code, result.counts) == (1, (3, 0, 0, 1))
    assert [row["error"] for row in result.json["rows"] if row["outcome"] == "failed"] == [error]
    renamed = StripeConnection.objects.filter(connection_name="New", version=2)
    assert set(renamed.values_list("biz_id", flat=True)) == {"sc_one", "sc_three", "sc_four"}


@pytest.mark.only_on("postgresql", reason="SQLite locks the whole database")
@pytest.mark.django_db(transaction=True)
def test_change_that_is_committed_meanwhile_is_not_overwritten(rows, monkeypatch):
    original = services.update_connection
    theirs = []

    def change():
        two = StripeConnection.objects.select_related("workspace").get(biz_id="sc_two")
        theirs.append(
            original(
                workspace=two.workspace,
                biz_id="sc_two",
                changes={"connection_name": "Theirs"},
                actor=Actor(None, Source.API),
            )
        )
        connections.close_all()

    def overtaken(**values):
        if values["biz_id"] == "sc_two" and not theirs:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(change).result()
        return original(**values)

    monkeypatch.setattr(services, "update_connection", overtaken)
    result = run(*RENAME, "--apply")

    assert (result.code, result.counts) == (1, (3, 0, 0, 1))
    two = StripeConnection.objects.get(biz_id="sc_two")
    assert (two.connection_name, two.version) == ("Theirs", 2)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (("census_secrets",), {"canBeDropped": []}),
        (("import_connections", "-", "--apply"), {"skipped": 2, "changed": 0}),
    ],
    ids=["census", "import"],
)
def test_empty_list_of_ids_selects_nothing(rows, tmp_path, settings, command, output):
    settings.FERNET_KEYS = [*settings.FERNET_KEYS, Fernet.generate_key().decode()]
    (tmp_path / "ids").touch()
    file = "workspaceId,bizId,connectionName\nws_demo,sc_one,New\nws_demo,,Other\n"

    shown = run(*command, "--ids", str(tmp_path / "ids"), stdin=file).json

    assert {name: shown[name] for name in output} == output


def test_interrupted_run_keeps_whole_batches(rows, monkeypatch):
    original = services.update_connection

    def interrupted(**values):
        if values["biz_id"] == "sc_four":
            raise KeyboardInterrupt
        return original(**values)

    with monkeypatch.context() as patch:
        patch.setattr(services, "update_connection", interrupted)
        first = run(*RENAME, "--apply", "--batch-size", "2")
    versions = list(StripeConnection.objects.order_by("pk").values_list("version", flat=True))
    second = run(*RENAME, "--apply")

    assert (first.code, first.json["applied"], first.counts) == (130, True, (2, 0, 0, 0))
    assert versions == [2, 2, 1, 1]
    assert second.counts == (2, 2, 0, 0)


@pytest.mark.only_on("postgresql", reason="SQLite has no row locks")
@pytest.mark.django_db(transaction=True)
def test_locked_row_fails_and_the_others_are_changed(workspace, make_connection, stored, settings):
    settings.LOCK_TIMEOUT_SECONDS = 0.05
    held, _ = make_connection(workspace, "sc_held"), make_connection(workspace, "sc_free")
    before = stored(held)

    with Holder(held):
        dry_run = run(*RENAME)
        result = run(*RENAME, "--apply")

    assert dry_run.counts == (2, 0, 0, 0)
    failed, changed = result.json["rows"]
    assert (result.code, result.counts) == (1, (1, 0, 0, 1))
    assert failed == {
        "outcome": "failed",
        "bizId": "sc_held",
        "error": "Another transaction kept the row locked. Run the command again.",
    }
    assert changed["bizId"] == "sc_free"
    assert stored(held) == before


@pytest.mark.only_on("postgresql", reason="SQLite has no row locks")
@pytest.mark.django_db(transaction=True)
def test_import_reports_a_locked_row(workspace, make_connection, stored, settings):
    settings.LOCK_TIMEOUT_SECONDS = 0.05
    held = make_connection(workspace, "sc_held")
    before = stored(held)
    rows = "workspaceId,bizId,connectionName\nws_demo,sc_held,New\n"

    with Holder(held):
        result = run("import_connections", "-", "--apply", stdin=rows)

    error = "Another transaction kept the row locked. Run the command again."
    assert (result.code, result.counts) == (1, (0, 0, 0, 1))
    found = {"outcome": "failed", "bizId": "sc_held", "line": 2, "error": error}
    assert result.json["rows"] == [found]
    assert stored(held) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name):
    help_text = load_command_class(get_commands()[name], name).create_parser("manage.py", name)

    assert f"Examples:\n  manage.py {name}" in help_text.format_help()


def test_all_records_of_a_run_have_one_id(rows):
    from auditlog.models import LogEntry

    run(*RENAME, "--apply")

    entries = LogEntry.objects.filter(additional_data__source="command")
    assert entries.count() == 4
    assert len(set(entries.values_list("cid", flat=True))) == 1
    assert entries.first().cid.startswith("update_connections-")
