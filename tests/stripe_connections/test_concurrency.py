"""Concurrent updates: no field is lost, one update per version succeeds, and no call hangs.

On SQLite, the tests use a file like a deployment does, because an in-memory database locks
differently.
"""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection as database
from django.db import connections
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from stripe_connections.models import StripeConnection
from stripe_connections.secrets.keyring import keyring
from stripe_connections.statements import MEMORY_SECONDS
from stripe_connections.stripe_api.replies import Verification
from tests.conftest import ApiClient, plain_secrets, random_api_key, random_webhook_secret
from tests.service import wait_for
from workspaces.models import Role

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database_file")]

CALLERS = 10
FIELDS = {
    "connectionName": "Name {}",
    "connectionDescription": "Description {}",
    "stripeAccountId": "acct_{}",
    "partnerEndpoint": "https://partner.example.com/{}",
    "configJson": '{{"number": {}}}',
}
COLUMNS = (
    "connection_name",
    "connection_description",
    "stripe_account_id",
    "partner_endpoint",
    "config_json",
)


@pytest.fixture
def short_lock_timeout(settings):
    """Wait for a lock for only a tenth of a second."""
    settings.LOCK_TIMEOUT_SECONDS = 0.1
    options = database.settings_dict["OPTIONS"]
    before = dict(options)
    if database.vendor == "sqlite":
        options["timeout"] = 0.1
        database.close()
    yield
    options.clear()
    options.update(before)


@pytest.fixture
def at_once(manager, connection):
    """Return a function that sends bodies at the same time and returns the responses."""
    user = User.objects.get(username="manager")

    def call(bodies, **kwargs):
        # Ten calls start together, then the next ten.
        callers = min(CALLERS, len(bodies))
        start = Barrier(callers)

        def one(body):
            client = ApiClient(user)
            try:
                start.wait(timeout=120)
                return client.update({"connectionBizId": "sc_abc123"} | body, **kwargs)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(one, bodies))

    return call


def wait_for_locks(count):
    """Wait until this number of sessions wait for a lock in the database of this process."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with database.cursor() as cursor:
        wait_for(lambda: cursor.execute(waiting).fetchone() == (count,), f"{count} waits")


def test_fifty_parallel_updates_all_survive(at_once, connection):
    """The old value in each audit record is the new value of the record before it."""
    names = list(FIELDS) * (50 // len(FIELDS))
    bodies = [{name: FIELDS[name].format(1 + turn)} for turn, name in enumerate(names)]
    first = {column: getattr(connection, column) for column in COLUMNS}

    responses = at_once(bodies)

    connection.refresh_from_db()
    records = sorted(LogEntry.objects.all(), key=lambda record: record.additional_data["version"])
    given = Counter(value for body in bodies for value in body.values())
    assert Counter(response.status_code for response in responses) == {200: 50}
    assert connection.version == 51
    assert [record.additional_data["version"] for record in records] == list(range(2, 52))
    assert Counter(new for record in records for _, new in record.changes.values()) == given
    steps = {c: [r.changes[c] for r in records if c in r.changes] for c in COLUMNS}
    assert {c: [old for old, _ in steps[c]] for c in COLUMNS} == {
        c: [first[c], *(new for _, new in steps[c][:-1])] for c in COLUMNS
    }
    assert {c: getattr(connection, c) for c in COLUMNS} == {c: steps[c][-1][1] for c in COLUMNS}


def test_different_fields_given_at_once_all_survive(at_once, connection):
    api_key, webhook_secret = random_api_key(), random_webhook_secret()
    given = {name: value.format(7) for name, value in FIELDS.items()}

    responses = at_once(
        [{"apiKey": api_key}, {"webhookSecret": webhook_secret}]
        + [{name: value} for name, value in given.items()]
    )

    connection.refresh_from_db()
    data = ApiClient(User.objects.get()).update({"connectionBizId": "sc_abc123"}).json()["data"]
    assert [response.status_code for response in responses] == [200] * 7
    assert {name: data[name] for name in given} == given
    assert plain_secrets(connection) == (
        api_key,
        webhook_secret,
    )
    assert connection.api_key_fingerprint == keyring().fingerprint(api_key)
    assert connection.version == 8


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("names", [["account"], ["key"], ["account", "key"]])
def test_update_that_waited_for_the_same_one_resets_the_outcome(
    at_once, connection, other_session, names
):
    """While it waits, the verified account becomes another one."""
    StripeConnection.objects.filter(pk=connection.pk).update(
        stripe_account_id="acct_1",
        verification=Verification.VERIFIED,
        verification_account_id="acct_1",
    )
    new = {"account": ("stripeAccountId", "acct_2"), "key": ("apiKey", random_api_key())}
    body = dict(new[name] for name in names)

    with other_session.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("BEGIN")
        cursor.execute("SELECT id FROM stripe_connections_stripeconnection FOR UPDATE")
        responses = pool.submit(at_once, [body, body])
        wait_for_locks(2)
        cursor.execute("ROLLBACK")

    connection.refresh_from_db()
    assert [response.status_code for response in responses.result()] == [200, 200]
    assert (connection.version, connection.verification) == (3, Verification.UNVERIFIED)


def test_every_response_has_a_different_version(at_once):
    responses = at_once([{"connectionName": f"Name {caller}"} for caller in range(CALLERS)])

    tags = {response["ETag"] for response in responses}
    assert tags == {f'"{version}"' for version in range(2, CALLERS + 2)}


def test_one_of_several_calls_with_the_same_if_match_succeeds(at_once, connection):
    bodies = [{"connectionName": f"Name {caller}"} for caller in range(CALLERS)]

    responses = at_once(bodies, headers={"If-Match": '"1"'})

    connection.refresh_from_db()
    (winner,) = [response for response in responses if response.status_code == 200]
    codes = Counter(response.json()["code"] for response in responses)
    assert codes == {"2000": 1, "4120": CALLERS - 1}
    assert connection.connection_name == winner.json()["data"]["connectionName"]
    assert connection.version == 2
    assert LogEntry.objects.count() == 1


LOCK = (
    "UPDATE stripe_connections_stripeconnection SET version = version"
    if database.vendor == "sqlite"
    else "SELECT 1 FROM stripe_connections_stripeconnection FOR UPDATE"
)


def test_row_that_stays_locked_is_503(
    manager, connection, stored, short_lock_timeout, other_session
):
    before = stored(connection)
    other_session.set_autocommit(False)
    with other_session.cursor() as cursor:
        cursor.execute(LOCK)

    response = manager.update({"connectionBizId": "sc_abc123", "connectionName": "New"})

    assert (response.status_code, response.json()["code"]) == (503, "5030")
    assert int(response["Retry-After"]) >= 1
    assert stored(connection) == before
    assert not LogEntry.objects.exists()


BUSY = {"sqlite": "SQLITE_BUSY", "postgresql": "LockNotAvailable"}


def test_busy_database_is_counted_by_its_error(
    manager, connection, short_lock_timeout, other_session
):
    labels = {"error": BUSY[database.vendor]}
    before = REGISTRY.get_sample_value("database_errors_total", labels) or 0
    other_session.set_autocommit(False)
    with other_session.cursor() as cursor:
        cursor.execute(LOCK)
    manager.update({"connectionBizId": "sc_abc123", "connectionName": "New"})

    assert REGISTRY.get_sample_value("database_errors_total", labels) == before + 1


@pytest.fixture
def statements():
    """The captured SQL statements."""
    database.ensure_connection()
    with CaptureQueriesContext(database) as captured:
        yield captured


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test can advance."""
    now = SimpleNamespace(seconds=time.monotonic())
    monkeypatch.setattr(time, "monotonic", lambda: now.seconds)
    return now


def waits(statements):
    """Return the lock timeouts that were set, in order."""
    sql = " ".join(query["sql"] for query in statements.captured_queries)
    return re.findall(r"set_config\('lock_timeout', '?(\w+)", sql)


@pytest.mark.only_on("postgresql", reason="SQLite has one timeout for each connection")
def test_later_calls_do_not_wait_for_a_locked_row(
    manager, connection, stored, short_lock_timeout, other_session, clock, statements
):
    before = stored(connection)
    other_session.set_autocommit(False)
    with other_session.cursor() as cursor:
        cursor.execute(LOCK)
    body = {"connectionBizId": "sc_abc123", "connectionName": "New"}

    responses = [manager.update(body) for _ in range(3)]
    clock.seconds += MEMORY_SECONDS + 1
    responses.append(manager.update(body))
    other_session.rollback()
    after = stored(connection)
    released = [manager.update(body) for _ in range(2)]

    assert [response.status_code for response in responses] == [503] * 4
    assert all(int(response["Retry-After"]) >= 1 for response in responses)
    assert after == before
    assert [response.status_code for response in released] == [200, 200]
    # The first call waits, the next two do not. Then the backoff expires, so one call waits again.
    # The next call gets the lock, which ends the backoff.
    assert waits(statements) == ["100ms", "1ms", "1ms", "100ms", "1ms", "100ms"]


def test_row_that_was_locked_is_written_after_its_release(
    manager, connection, short_lock_timeout, other_session
):
    other_session.set_autocommit(False)
    with other_session.cursor() as cursor:
        cursor.execute(LOCK)
    body = {"connectionBizId": "sc_abc123", "connectionName": "New"}
    assert manager.update(body).status_code == 503

    other_session.rollback()
    assert manager.update(body).status_code == 200


@pytest.mark.only_on("postgresql", reason="SQLite has one timeout for each connection")
def test_lock_timeout_ends_with_its_transaction(manager, connection, short_lock_timeout):
    body = {"connectionBizId": "sc_abc123", "connectionName": "New"}
    assert manager.update(body).status_code == 200

    with database.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


def test_changed_role_applies_to_the_next_call(manager, connection, stored, other_session):
    before = stored(connection)
    with other_session.cursor() as cursor:
        cursor.execute("UPDATE workspaces_membership SET role = %s", [Role.VIEWER])

    response = manager.update({"connectionBizId": "sc_abc123", "connectionName": "New"})

    assert (response.status_code, response.json()["code"]) == (403, "4030")
    assert stored(connection) == before
