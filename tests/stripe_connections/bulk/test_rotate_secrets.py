"""`rotate_secrets` re-encrypts secrets with the first key and changes nothing else."""

import io
import json
import threading

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection as database
from django.db import connections

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import SECRET_FIELDS, StripeConnection
from stripe_connections.secrets.keyring import keyring, secret_context
from tests.conftest import plain, random_api_key, set_columns
from tests.stripe_connections.bulk.conftest import Holder, run

ACTOR = Actor(None, Source.COMMAND, "test")
UNSEEN = {name + end for name in SECRET_FIELDS for end in ("", "_fingerprint")}


def secrets_of(connection):
    loaded = StripeConnection.objects.defer(None).get(pk=connection.pk)
    return [plain(loaded, name) for name in SECRET_FIELDS]


def positions(row):
    owner = row["workspace_id"], row["biz_id"]
    contexts = [secret_context(*owner, name) for name in SECRET_FIELDS]
    return list(map(keyring().position_of, (row["api_key"], row["webhook_secret"]), contexts))


@pytest.fixture
def three(workspace, make_connection):
    return [make_connection(workspace, f"sc_{number}") for number in range(3)]


@pytest.fixture
def other_connection(other_workspace, make_connection):
    return make_connection(other_workspace, "sc_other")


@pytest.fixture
def sixty(workspace, make_connection):
    return [make_connection(workspace).pk for _ in range(60)]


def damage(connection, token=b"gAAAAAnotoken"):
    set_columns(connection, api_key=token)


def test_secrets_are_encrypted_with_the_first_key(connection, stored, new_key):
    secrets = secrets_of(connection)

    result = run("rotate_secrets", "--apply")

    row = stored(connection)
    assert result.counts == (1, 0, 0, 0)
    assert positions(row) == [0, 0]
    assert secrets_of(connection) == secrets
    assert row["api_key_fingerprint"] == keyring().fingerprint(secrets[0])
    assert row["webhook_secret_fingerprint"] == keyring().fingerprint(secrets[1])


def test_only_ciphertexts_and_fingerprints_change(connection, stored, new_key):
    before = stored(connection)

    run("rotate_secrets", "--apply")

    after = stored(connection)
    assert {name for name in before if before[name] != after[name]} == UNSEEN


def test_etag_from_before_still_matches(manager, connection, new_key):
    run("rotate_secrets", "--apply")

    body = {"connectionBizId": "sc_abc123", "connectionName": "New"}
    assert manager.update(body, headers={"If-Match": '"1"'}).status_code == 200


def test_secret_under_the_first_key_is_not_changed(connection, stored):
    before = stored(connection)

    result = run("rotate_secrets", "--apply")

    assert result.counts == (0, 1, 0, 0)
    assert stored(connection) == before
    assert not LogEntry.objects.exists()


def test_only_the_secret_under_an_old_key_is_rotated(connection, stored, new_key):
    services.update_connection(
        workspace=connection.workspace,
        biz_id=connection.biz_id,
        changes={"api_key": random_api_key()},
        actor=ACTOR,
    )
    before = stored(connection)

    run("rotate_secrets", "--apply")

    after = stored(connection)
    assert after["api_key"] == before["api_key"]
    assert positions(after) == [0, 0]


def test_empty_secrets_stay_empty(workspace, stored, new_key):
    connection = StripeConnection.objects.create(workspace=workspace, connection_name="Empty")

    assert run("rotate_secrets", "--apply").counts == (0, 1, 0, 0)
    assert stored(connection)["api_key"] is None


def test_dry_run_counts_and_writes_nothing(three, stored, new_key):
    before = [stored(connection) for connection in three]

    result = run("rotate_secrets")

    assert (result.counts, result.json["applied"]) == ((3, 0, 0, 0), False)
    assert [stored(connection) for connection in three] == before


def test_second_run_changes_nothing(three, stored, new_key):
    run("rotate_secrets", "--apply")
    before = [stored(connection) for connection in three]

    assert run("rotate_secrets", "--apply").counts == (0, 3, 0, 0)
    assert [stored(connection) for connection in three] == before


@pytest.mark.parametrize(
    "token",
    [b"gAAAAAnotoken", b"", b"\xff\x00", Fernet(Fernet.generate_key()).encrypt(b"x")],
    ids=["damaged", "empty", "bytes", "another key"],
)
def test_unreadable_secret_is_reported_and_skipped(three, stored, new_key, token):
    damage(three[1], token)

    result = run("rotate_secrets", "--apply")

    assert (result.code, result.counts) == (1, (2, 0, 0, 1))
    assert result.json["rows"] == [
        {
            "outcome": "failed",
            "bizId": "sc_1",
            "error": "No key of FERNET_KEYS can decrypt in this row: api_key.",
        }
    ]
    assert stored(three[1])["api_key"] == token
    assert positions(stored(three[1])) == [None, 0]
    assert positions(stored(three[2])) == [0, 0]


def test_without_the_old_key_nothing_changes(three, stored, settings):
    before = [stored(connection) for connection in three]
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]

    result = run("rotate_secrets", "--apply")

    assert (result.code, result.counts) == (1, (0, 0, 0, 3))
    assert [stored(connection) for connection in three] == before


def test_each_batch_has_one_audit_record(three, new_key):
    run("rotate_secrets", "--apply", "--batch-size", "5000", "--workspace", "ws_demo")

    entries = LogEntry.objects.all()
    recorded = [pk for entry in entries for pk in entry.additional_data["object_ids"]]
    assert sorted(recorded) == [connection.pk for connection in three]
    assert {entry.changes["secrets"][1] for entry in entries} == {
        "re-encrypted under the first key"
    }
    assert {entry.additional_data["source"] for entry in entries} == {"command"}


def test_only_filtered_rows_are_rotated(connection, other_connection, stored, new_key):
    run("rotate_secrets", "--apply", "--tenant", "tn_other")

    rows = [stored(connection), stored(other_connection)]
    assert [positions(row) for row in rows] == [[1, 1], [0, 0]]


def test_shares_are_disjoint_and_complete(three, stored, new_key):
    counts = [run("rotate_secrets", "--apply", "--share", f"{n}/2").counts for n in (1, 2)]

    assert sorted(counts) == [(1, 0, 0, 0), (2, 0, 0, 0)]
    assert [positions(stored(connection)) for connection in three] == [[0, 0]] * 3


@pytest.mark.parametrize("share", ["0/2", "3/2", "-1/2", "1/0", "2", "1/2/3", "half", "1/x"])
def test_invalid_share_is_refused(three, share, new_key):
    result = run("rotate_secrets", "--apply", f"--share={share}")

    assert (result.code, result.out) == (1, "")
    assert "--share" in result.problem
    assert not LogEntry.objects.exists()


def heap_only_updates():
    """Return the number of updates that wrote no index entry."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT pg_stat_get_xact_tuples_hot_updated(%s::regclass)",
            ["stripe_connections_stripeconnection"],
        )
        return cursor.fetchone()[0]


@pytest.mark.only_on("postgresql", reason="only PostgreSQL has heap-only updates")
def test_rotation_of_few_rows_in_a_page_writes_no_index_entry(sixty, new_key):
    before = heap_only_updates()

    ids = StripeConnection.objects.filter(pk__in=sixty[::10]).values_list("biz_id", flat=True)

    result = run("rotate_secrets", "--apply", "--ids", "-", stdin="\n".join(ids))

    assert result.counts == (6, 0, 0, 0)
    assert heap_only_updates() - before == 6


@pytest.mark.only_on("postgresql", reason="SQLite has no row locks")
@pytest.mark.django_db(transaction=True)
class TestHeldRows:
    def test_locked_row_is_tried_again(self, three, stored, new_key, monkeypatch):
        holder = Holder(three[0])
        monkeypatch.setattr("time.sleep", lambda _: holder.release())
        with holder:
            result = run("rotate_secrets", "--apply")

        assert result.counts == (3, 0, 0, 0)
        assert positions(stored(three[0])) == [0, 0]

    def test_row_that_stays_locked_fails(self, three, stored, new_key, monkeypatch):
        monkeypatch.setattr("time.sleep", lambda _: None)
        before = stored(three[0])
        with Holder(three[0]):
            result = run("rotate_secrets", "--apply")

        assert (result.code, result.counts) == (1, (2, 0, 0, 1))
        assert stored(three[0]) == before
        assert [positions(stored(row)) for row in three[1:]] == [[0, 0], [0, 0]]

    def test_dry_run_locks_nothing(self, three, new_key):
        with Holder(three[0]):
            assert run("rotate_secrets").counts == (3, 0, 0, 0)

    def test_two_concurrent_rotations_share_the_work(self, sixty, new_key):
        def rotate():
            out = io.StringIO()
            call_command("rotate_secrets", "--apply", "--batch-size", "5", stdout=out, stderr=out)
            connections.close_all()

        threads = [threading.Thread(target=rotate) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entries = LogEntry.objects.all()
        changed = [pk for entry in entries for pk in entry.additional_data["object_ids"]]

        assert sorted(changed) == sixty


def test_no_secret_is_printed(connection, new_key):
    secrets = secrets_of(connection)

    result = run("rotate_secrets", "--apply", "--format", "text")

    assert not any(secret in result.everything for secret in secrets)
    assert not any(
        secret in json.dumps(list(LogEntry.objects.values()), default=str) for secret in secrets
    )
