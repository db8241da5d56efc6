"""`replace_secret` finds all connections with a leaked secret and replaces or deactivates it."""

import json

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import Status, StripeConnection
from tests.conftest import plain, random_api_key, random_webhook_secret, set_columns
from tests.stripe_connections.bulk.conftest import run
from tests.stripe_connections.bulk.test_rotate_secrets import damage

ACTOR = Actor(None, Source.COMMAND, "test")
LEAKED = random_api_key()
NEW = random_api_key()


def hold(connection, **secrets):
    services.update_connection(
        workspace=connection.workspace, biz_id=connection.biz_id, changes=secrets, actor=ACTOR
    )


def secret_of(connection, name="api_key"):
    return plain(StripeConnection.objects.get(pk=connection.pk), name)


@pytest.fixture
def holders(connection, other_workspace, make_connection):
    """A connection with the leaked key, and one of another tenant that gets it in `both`."""
    other = make_connection(other_workspace, "sc_other")
    hold(connection, api_key=LEAKED)
    return connection, other


@pytest.fixture
def both(holders, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    hold(holders[1], api_key=LEAKED)
    return holders


@pytest.fixture
def bystander(workspace, make_connection):
    return make_connection(workspace, "sc_bystander")


def test_every_connection_with_the_secret_gets_the_new_one(both, bystander, stored):
    before = stored(bystander)

    result = run("replace_secret", "--apply", stdin=f"{LEAKED}\n{NEW}\n")

    assert result.counts == (2, 0, 0, 0)
    assert [secret_of(connection) for connection in both] == [NEW, NEW]
    assert stored(bystander) == before


def test_connections_with_the_secret_are_deactivated(both):
    result = run("replace_secret", "--apply", "--deactivate", stdin=LEAKED)

    assert result.counts == (2, 0, 0, 0)
    assert set(StripeConnection.objects.values_list("status", flat=True)) == {Status.INACTIVE}
    assert secret_of(both[0]) == LEAKED


def test_dry_run_shows_hints_and_writes_nothing(both, stored):
    before = stored(both[0])

    result = run("replace_secret", stdin=f"{LEAKED}\n{NEW}\n")

    assert stored(both[0]) == before
    assert result.json["rows"][0]["changes"] == {
        "apiKey": [f"sk_live_…{LEAKED[-4:]}", f"sk_live_…{NEW[-4:]}"]
    }


def test_webhook_secret_is_replaced(connection):
    leaked, new = random_webhook_secret(), random_webhook_secret()
    hold(connection, webhook_secret=leaked)

    assert run("replace_secret", "--apply", stdin=f"{leaked}\n{new}").counts == (1, 0, 0, 0)
    assert secret_of(connection, "webhook_secret") == new


def test_secrets_are_read_from_files_and_the_environment(both, tmp_path, monkeypatch):
    (tmp_path / "old").write_text(f" {LEAKED}\n")
    monkeypatch.setenv("NEW_KEY", NEW)

    arguments = ("--old-file", str(tmp_path / "old"), "--new-env", "NEW_KEY")
    result = run("replace_secret", "--apply", *arguments)

    assert result.counts == (2, 0, 0, 0)


def test_only_filtered_rows_are_changed(both):
    run("replace_secret", "--apply", "--tenant", "tn_other", stdin=f"{LEAKED}\n{NEW}")

    assert [secret_of(connection) for connection in both] == [LEAKED, NEW]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [((), 1, "No connection has this secret."), (("--if-any",), 0, "")],
)
def test_secret_that_no_connection_has_fails_without_if_any(bystander, arguments, code, problem):
    result = run("replace_secret", "--apply", *arguments, stdin=f"{LEAKED}\n{NEW}")

    assert (result.code, result.problem) == (code, problem)


@pytest.mark.parametrize(
    "content",
    [
        LEAKED.encode("utf-16"),
        f'"{LEAKED}"'.encode(),
        f"STRIPE_KEY={LEAKED}".encode(),
        f"{LEAKED[:8]}****{LEAKED[-4:]}".encode(),
        f"{LEAKED[:12]}\u200b{LEAKED[12:]}".encode(),
        LEAKED[8:].encode(),
    ],
    ids=["UTF-16", "quotes", "assignment", "mask", "zero-width space", "no prefix"],
)
def test_mistyped_old_secret_is_refused_and_not_searched(both, tmp_path, content):
    (tmp_path / "old").write_bytes(content)

    result = run("replace_secret", "--old-file", str(tmp_path / "old"), "--deactivate", "--if-any")

    assert result.code == 1
    assert result.problem.startswith("apiKey: ")
    assert LEAKED[-20:] not in result.everything


def test_byte_order_mark_before_the_old_secret_is_ignored(both, tmp_path):
    (tmp_path / "old").write_text(LEAKED, encoding="utf-8-sig")

    result = run("replace_secret", "--old-file", str(tmp_path / "old"), "--deactivate")

    assert result.counts == (2, 0, 0, 0)


def test_secrets_that_cannot_be_searched_are_a_warning(both, bystander):
    damage(bystander)

    result = run("replace_secret", "--deactivate", stdin=LEAKED)

    assert result.counts == (2, 0, 0, 0)
    assert "Warning: 1 stored secrets cannot be decrypted" in result.err


def test_no_warning_if_every_secret_can_be_searched(both, bystander):
    assert "Warning" not in run("replace_secret", "--deactivate", stdin=LEAKED).err


def test_other_undecryptable_secret_does_not_matter(connection, settings):
    hold(connection, api_key=LEAKED)
    set_columns(connection, webhook_secret=b"damaged")

    assert run("replace_secret", "--apply", stdin=f"{LEAKED}\n{NEW}").counts == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("stdin", "problem"),
    [
        ("", "No value for the secret to look for."),
        (LEAKED, "No value for the new secret."),
        (f"{LEAKED}\n{LEAKED}", "The new secret is the same as the old one."),
        (f"{LEAKED}\nwhsec_{'a' * 20}", "This is a webhook signing secret"),
        (f"{LEAKED}\n{'•' * 12}", "apiKey: "),
    ],
    ids=["nothing", "no new one", "the same", "wrong family", "masked"],
)
def test_bad_secret_is_refused(both, stored, stdin, problem):
    before = stored(both[0])

    result = run("replace_secret", "--apply", stdin=stdin)

    assert result.code == 1
    assert problem in result.problem
    assert stored(both[0]) == before


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_printed_or_recorded(both, form):
    result = run("replace_secret", "--apply", "--format", form, stdin=f"{LEAKED}\n{NEW}")

    records = json.dumps(list(LogEntry.objects.values()), default=str)
    assert not any(secret in result.everything + records for secret in (LEAKED, NEW))
