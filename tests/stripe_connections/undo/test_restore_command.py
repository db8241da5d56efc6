"""`restore_secret` undoes the replacements of a run, or of a connection."""

import json

import pytest
from auditlog.models import LogEntry

from stripe_connections.models import StripeConnection
from tests.conftest import random_api_key, random_webhook_secret
from tests.stripe_connections.bulk.conftest import run
from tests.stripe_connections.undo.conftest import current, replace

LEAKED, WRONG = random_api_key(), random_api_key()


@pytest.fixture
def holders(connection, workspace, make_connection):
    """Two connections with the same key."""
    other = make_connection(workspace, "sc_other")
    for holder in (connection, other):
        replace(holder, api_key=LEAKED)
    return connection, other


@pytest.fixture
def wrong_run(holders):
    """The ID of a run that saved a wrong key in both connections."""
    result = run("replace_secret", "--apply", stdin=f"{LEAKED}\n{WRONG}\n")
    assert (current(), current(biz_id="sc_other")) == (WRONG, WRONG)
    return result.json["run"]


def test_run_is_undone(wrong_run):
    result = run("restore_secret", "--run", wrong_run, "--apply")

    assert result.counts == (2, 0, 0, 0)
    assert (current(), current(biz_id="sc_other")) == (LEAKED, LEAKED)


def test_text_output_has_the_id_of_the_run(holders):
    result = run("replace_secret", "--apply", "--format", "text", stdin=f"{LEAKED}\n{WRONG}\n")

    assert f"The ID of this run is {LogEntry.objects.latest('pk').cid}." in result.out


def test_run_is_not_undone_twice(wrong_run):
    run("restore_secret", "--run", wrong_run, "--apply")

    assert run("restore_secret", "--run", wrong_run, "--apply").counts == (0, 0, 2, 0)


def test_undo_can_be_undone(wrong_run):
    undoing = run("restore_secret", "--run", wrong_run, "--apply").json["run"]
    run("restore_secret", "--run", undoing, "--apply")

    assert (current(), current(biz_id="sc_other")) == (WRONG, WRONG)


def test_secret_that_was_replaced_again_is_skipped(wrong_run, connection):
    newer = random_api_key()
    replace(connection, api_key=newer)

    assert run("restore_secret", "--run", wrong_run, "--apply").counts == (1, 0, 1, 0)
    assert current() == newer


def test_dry_run_writes_nothing(wrong_run):
    result = run("restore_secret", "--run", wrong_run)

    assert result.counts == (2, 0, 0, 0)
    assert result.json["rows"][0]["changes"] == {
        "apiKey": [f"sk_live_…{WRONG[-4:]}", f"sk_live_…{LEAKED[-4:]}"]
    }
    assert current() == WRONG


def test_both_secrets_of_an_import_are_restored(connection):
    before = current(), current("webhook_secret")
    row = {"workspaceId": "ws_demo", "bizId": "sc_abc123", "apiKey": random_api_key()}
    row["webhookSecret"] = random_webhook_secret()
    imported = run("import_connections", "-", "--apply", stdin=json.dumps(row))

    result = run("restore_secret", "--run", imported.json["run"], "--apply")

    assert result.counts == (1, 0, 0, 0)
    assert (current(), current("webhook_secret")) == before


def test_one_field_of_a_run_is_restored(connection):
    before = current()
    row = {"workspaceId": "ws_demo", "bizId": "sc_abc123", "apiKey": random_api_key()}
    row["webhookSecret"] = random_webhook_secret()
    imported = run("import_connections", "-", "--apply", stdin=json.dumps(row))
    run("restore_secret", "--run", imported.json["run"], "--field", "apiKey", "--apply")

    assert (current(), current("webhook_secret")) == (before, row["webhookSecret"])


@pytest.mark.parametrize("how", ["argument", "standard input"])
def test_named_connection_is_restored(wrong_run, how):
    named = {"argument": ("sc_other",), "standard input": ("--ids", "-")}[how]
    result = run("restore_secret", *named, "--field", "apiKey", "--apply", stdin="sc_other\n")

    assert result.counts == (1, 0, 0, 0)
    assert (current(), current(biz_id="sc_other")) == (WRONG, LEAKED)


def test_restore_is_recorded(wrong_run, connection):
    result = run("restore_secret", "sc_abc123", "--field", "apiKey", "--apply")

    record = LogEntry.objects.filter(object_id=connection.pk).latest("pk")
    assert record.changes["api_key"][1] == f"restored sk_live_…{LEAKED[-4:]}"
    assert record.cid == result.json["run"]


def test_connection_without_a_replaced_secret_fails(connection):
    result = run("restore_secret", "sc_abc123", "--field", "webhookSecret", "--apply")

    assert (result.code, result.counts) == (1, (0, 0, 0, 1))
    assert result.json["rows"][0]["error"].startswith("There is no replaced secret")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Give --run, or --field and the connections."),
        (("sc_abc123",), "Give --run, or --field and the connections."),
        (("--field", "apiKey"), "Give --run, or --field and the connections."),
        (("--run", "unknown"), "No secret that can be restored was replaced by this run."),
    ],
)
def test_missing_or_unknown_argument_is_refused(connection, arguments, problem):
    result = run("restore_secret", *arguments, "--apply")

    assert (result.code, result.problem) == (1, problem)


def test_secret_that_stripe_rejects_is_not_restored(wrong_run, stripe):
    stripe.rejects()
    result = run("restore_secret", "--run", wrong_run, "--apply")

    assert result.counts == (0, 0, 0, 2)
    assert current() == WRONG


def test_live_key_is_restored_after_a_test_key(connection, stripe):
    before = current()
    row = {"workspaceId": "ws_demo", "bizId": "sc_abc123", "apiKey": random_api_key("sk_test_")}
    stdin = json.dumps(row)
    imported = run("import_connections", "-", "--allow-mode-change", "--apply", stdin=stdin)
    result = run("restore_secret", "--run", imported.json["run"], "--apply")

    assert result.counts == (1, 0, 0, 0)
    assert (current(), StripeConnection.objects.get().outcome.verification) == (before, "verified")


def test_no_secret_is_printed(wrong_run):
    result = run("restore_secret", "--run", wrong_run, "--apply", "--format", "text")

    assert LEAKED not in result.everything
    assert WRONG not in result.everything
