"""Rate limits of users, workspaces and addresses, for one and for several processes."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import OperationalError, connections
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from config import delete_expired
from tests.conftest import ApiClient
from workspaces import throttles
from workspaces.models import CallCount, Role

LOGIN = "/web/v1/auth/token"
NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}
CALLERS = 12


@pytest.fixture
def limits(settings, monkeypatch):
    """Return a function that sets the limits; the process is new."""
    monkeypatch.setattr(throttles, "counter", throttles.Counter())

    def set_limits(**rates):
        settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {"DEFAULT_THROTTLE_RATES": rates}

    return set_limits


@pytest.fixture
def later(monkeypatch):
    """Return a function that advances the clocks."""

    def forward(seconds):
        now = throttles.time()
        monkeypatch.setattr(throttles, "time", lambda: now + seconds)
        throttles.counter.expired_rows.due_at -= seconds

    return forward


@pytest.fixture
def another_process(monkeypatch):
    """Return a function that continues as a new process, without reserved calls."""
    return lambda: monkeypatch.setattr(throttles, "counter", throttles.Counter())


def statuses(client, calls, body=NAMED, **kwargs):
    return [client.update(body, **kwargs).status_code for _ in range(calls)]


@pytest.fixture
def colleague(workspace, make_user):
    return ApiClient(make_user("colleague", workspace, Role.MANAGER))


def test_user_is_refused_above_the_limit(manager, connection, limits, stored):
    limits(user="3/min")

    assert statuses(manager, 3) == [200, 200, 200]
    before = stored(connection)
    response = manager.update(NAMED)

    body = response.json()
    assert (response.status_code, body["code"], body["message"]) == (
        429,
        "4290",
        "Too many requests",
    )
    assert list(body) == ["version", "timestamp", "success", "code", "message"]
    assert response["Retry-After"] == "60"
    assert stored(connection) == before


def test_each_user_has_a_separate_limit(manager, colleague, connection, limits):
    limits(user="1/min")

    assert [statuses(client, 2) for client in (manager, colleague)] == [[200, 429], [200, 429]]


def test_all_users_of_a_workspace_share_its_limit(manager, colleague, connection, limits):
    limits(workspace="3/min")

    assert statuses(manager, 2) + statuses(colleague, 2) == [200, 200, 200, 429]


def test_each_workspace_has_a_separate_limit(
    manager, outsider, connection, other_workspace, make_connection, limits
):
    make_connection(other_workspace, "sc_other")
    limits(workspace="1/min")

    assert statuses(manager, 2) == [200, 429]
    assert statuses(
        outsider, 2, NAMED | {"connectionBizId": "sc_other"}, workspace_id="ws_other"
    ) == [200, 429]


def test_refused_calls_do_not_count_for_the_workspace(manager, colleague, connection, limits):
    limits(user="2/min", workspace="4/min")

    assert statuses(manager, 9) == [200] * 2 + [429] * 7
    assert statuses(colleague, 3) == [200, 200, 429]


@pytest.mark.parametrize("rates", [{}, {"user": None, "workspace": None}])
def test_without_limits_nothing_is_refused_or_counted(manager, connection, limits, rates):
    limits(**rates)

    assert set(statuses(manager, 20)) == {200}
    assert not CallCount.objects.exists()


@pytest.mark.parametrize(
    ("body", "kwargs", "status"),
    [
        (b"{", {}, 400),
        ({"connectionBizId": "sc_abc123", "connectionName": ""}, {}, 400),
        ({"connectionBizId": "sc_unknown"}, {}, 404),
        (NAMED, {"headers": {"If-Match": '"7"'}}, 412),
        ("{}", {"content_type": "text/plain"}, 415),
    ],
)
def test_call_with_an_error_counts(manager, connection, limits, body, kwargs, status):
    limits(user="2/min")

    assert statuses(manager, 3, body, **kwargs) == [status, status, 429]


def test_401_and_403_do_not_count(manager, viewer, connection, limits):
    limits(user="1/min", workspace="1/min")

    assert statuses(ApiClient(), 3) == [401, 401, 401]
    assert statuses(viewer, 3) == [403, 403, 403]
    assert statuses(manager, 2) == [200, 429]
    assert statuses(viewer, 1) + statuses(ApiClient(), 1) == [403, 401]


@pytest.mark.parametrize(
    ("rate", "window"), [("1/sec", 1), ("1/m", 60), ("1/hour", 3_600), ("1/day", 86_400)]
)
def test_limit_ends_with_its_window(manager, connection, limits, later, rate, window):
    limits(user=rate)

    assert statuses(manager, 2) == [200, 429]
    later(window - 0.75)
    assert manager.update(NAMED)["Retry-After"] == "1"
    later(0.25)
    assert statuses(manager, 2) == [200, 429]


def test_refused_calls_do_not_prolong_the_wait(manager, connection, limits, later):
    limits(user="1/min")
    statuses(manager, 30)
    later(60)

    assert statuses(manager, 1) == [200]


@pytest.mark.parametrize("limit", [1, 7, 25])
def test_processes_share_one_limit(
    manager, connection, limits, another_process, monkeypatch, limit
):
    monkeypatch.setattr(throttles, "PORTIONS", 10)
    limits(user=f"{limit}/min")
    first = statuses(manager, limit // 2)
    another_process()
    second = statuses(manager, limit)

    assert first == [200] * (limit // 2)
    # Calls that the first process reserved and did not use are lost until the window ends.
    portion = max(1, limit // throttles.PORTIONS)
    assert limit - portion < Counter(first + second)[200] <= limit


def test_later_window_of_a_process_with_a_faster_clock_is_used(
    manager, connection, limits, later, another_process
):
    limits(user="2/min")
    later(59.4)
    assert statuses(manager, 1) == [200]
    later(0.2)
    another_process()
    assert statuses(manager, 2) == [200, 200]
    later(-0.2)
    another_process()

    response = manager.update(NAMED)

    assert response.status_code == 429
    assert response["Retry-After"] == "61"


@pytest.mark.parametrize("jump", [3_600, 86_400, 10 * 365 * 86_400])
@pytest.mark.parametrize("is_another", [False, True])
def test_clock_that_is_put_back_locks_nobody_out(
    manager, connection, limits, later, another_process, jump, is_another
):
    limits(user="2/min", workspace="1000/day")
    later(jump)
    assert statuses(manager, 3) == [200, 200, 429]
    later(-jump)
    if is_another:
        another_process()

    assert statuses(manager, 3) == [200, 200, 429]
    later(60)
    assert statuses(manager, 3) == [200, 200, 429]


@pytest.mark.parametrize("rate", ["2/s", "2/min", "2/day"])
def test_clock_that_is_put_back_a_little_lifts_no_limit(manager, connection, limits, later, rate):
    limits(user=rate)
    later(200)
    assert statuses(manager, 3) == [200, 200, 429]
    later(-200)

    response = manager.update(NAMED)

    assert response.status_code == 429
    assert int(response["Retry-After"]) <= 86_400


def test_changed_period_starts_a_new_count(manager, connection, limits, another_process):
    limits(user="1/day")
    assert statuses(manager, 2) == [200, 429]
    another_process()
    limits(user="1/min")

    assert statuses(manager, 2) == [200, 429]


def test_one_statement_reserves_a_portion_of_both_limits(manager, connection, limits):
    limits(user="300/min", workspace="300/min")
    with CaptureQueriesContext(database) as captured:
        statuses(manager, 9)

    counted = [q["sql"] for q in captured if "workspaces_callcount" in q["sql"]]
    assert len(counted) == 3
    assert [sql.count("user:") for sql in counted] == [1, 1, 1]
    assert [sql.count("workspace:") for sql in counted] == [1, 1, 1]


def test_refused_calls_need_no_query(manager, connection, limits):
    limits(user="1/min")
    statuses(manager, 1)
    with CaptureQueriesContext(database) as captured:
        statuses(manager, 5)

    assert [q for q in captured if "workspaces_callcount" in q["sql"]] == []


def test_unavailable_database_is_503(manager, connection, limits, stored):
    limits(user="1/min")
    before = stored(connection)

    def refuse(execute, sql, *args):
        if "workspaces_callcount" in sql:
            raise OperationalError("gone")
        return execute(sql, *args)

    with database.execute_wrapper(refuse):
        response = manager.update(NAMED)

    assert (response.status_code, response.json()["code"]) == (503, "5030")
    assert stored(connection) == before


@pytest.mark.django_db(transaction=True)
def test_expired_windows_are_deleted(manager, connection, limits, later):
    """Outside a transaction, like in a real request."""
    limits(user="1/min", workspace="1/min")
    CallCount.objects.create(key="expired", window_end=1, calls=1)
    CallCount.objects.create(key="open", window_end=throttles.time() + 3_600, calls=1)
    assert statuses(manager, 1) == [200]
    later(delete_expired.DELETE_SECONDS * 2)
    assert statuses(manager, 1) == [200]

    keys = set(CallCount.objects.values_list("key", flat=True))
    assert len(keys) == 3
    assert "open" in keys
    assert "expired" not in keys
    assert len(throttles.counter._leases) == 2


def test_rows_can_be_deleted_while_another_call_is_counted(
    manager, colleague, connection, limits, later
):
    """The window of the first call expires, and the second call deletes it before it is counted."""
    limits(user="2/min")
    others = []

    def delete_meanwhile(execute, sql, *args):
        if "workspaces_callcount" in sql and not others:
            others.append("starts")
            later(delete_expired.DELETE_SECONDS * 2)
            others.extend(statuses(colleague, 1))
        return execute(sql, *args)

    with database.execute_wrapper(delete_meanwhile):
        found = statuses(manager, 3)

    assert others == ["starts", 200]
    assert found == [200, 200, 429]


def test_next_call_deletes_the_rest_of_many_expired_rows(manager, connection, limits, later):
    limits(user="1/s")
    CallCount.objects.bulk_create(
        CallCount(key=f"expired-{number}", window_end=1, calls=1)
        for number in range(delete_expired.DELETED_ROWS + 9)
    )
    later(delete_expired.DELETE_SECONDS * 2)
    statuses(manager, 1)
    assert CallCount.objects.filter(key__startswith="expired").count() == 9
    later(1)
    statuses(manager, 1)

    assert not CallCount.objects.filter(key__startswith="expired").exists()


def test_window_that_was_deleted_by_a_fast_clock_starts_again(manager, connection, limits):
    """This process knows a later window than the next one; it must not repeat the statement."""
    later_end = int(throttles.time()) + 120
    CallCount.objects.create(key="workspace:ws_demo/60", window_end=later_end, calls=0)
    limits(workspace="300/min")
    assert statuses(manager, 3) == [200, 200, 200]
    CallCount.objects.all().delete()
    counts = []

    def count(execute, sql, *args):
        counts.extend([sql] if "workspaces_callcount" in sql else [])
        if len(counts) > 5:
            raise OperationalError("endless loop")
        return execute(sql, *args)

    with database.execute_wrapper(count):
        assert statuses(manager, 1) == [200]


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", 429),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", 401),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", 401),
        ("192.0.2.1", "192.0.2.2", 401),
        ("unknown", "unknown", 429),
    ],
)
def test_addresses_of_one_ipv6_network_share_a_limit(db, limits, first, second, status):
    limits(token="1/min")

    def log_in(address):
        body = {"username": f"nobody at {address}", "password": "wrong"}
        client = ApiClient(REMOTE_ADDR=address)
        return client.post(LOGIN, body, content_type="application/json").status_code

    assert log_in(first) == 401
    assert log_in(second) == status


def test_usernames_are_stored_only_as_digests(db, limits):
    limits(token="5/min")
    client = ApiClient()
    client.post(
        LOGIN, {"username": "Typed-Password", "password": "x"}, content_type="application/json"
    )

    keys = " ".join(CallCount.objects.values_list("key", flat=True))
    assert CallCount.objects.count() == 2
    assert "typed" not in keys.lower()


# ── Concurrent calls ──────────────────────────────────────────────────────────────────────────
@pytest.fixture
def at_once():
    """Return a function that makes calls in many threads and counts the statuses."""

    def run(call, times):
        start = Barrier(CALLERS)

        def one(number):
            try:
                # The first calls of all threads begin together.
                if number < CALLERS:
                    start.wait(timeout=120)
                return call().status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(CALLERS) as pool:
            return Counter(pool.map(one, range(times)))

    return run


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
def test_concurrent_logins_do_not_exceed_the_limit(make_user, limits, at_once):
    limits(token="10/min")
    make_user("somebody")
    body = {"username": "somebody", "password": "wrong"}

    found = at_once(
        lambda: ApiClient().post(LOGIN, body, content_type="application/json"), times=120
    )

    assert found == {401: 10, 429: 110}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
def test_concurrent_updates_do_not_exceed_the_limit(manager, connection, limits, at_once):
    limits(user="30/min", workspace="20/min")
    user = User.objects.get(username="manager")

    found = at_once(lambda: ApiClient(user).update(NAMED), times=60)

    connection.refresh_from_db()
    assert found == {200: 20, 429: 40}
    assert connection.version == 21


@pytest.mark.django_db(transaction=True)
def test_failed_update_counts(manager, connection, limits):
    limits(user="1/min")

    def refuse(execute, sql, *args):
        if "auditlog_logentry" in sql:
            raise OperationalError("gone")
        return execute(sql, *args)

    with database.execute_wrapper(refuse):
        assert statuses(manager, 1) == [503]
    throttles.counter.clear()

    assert statuses(manager, 1) == [429]
    assert CallCount.objects.get().calls == 2
