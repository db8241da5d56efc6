"""Changes of the database need no restart of the service, and lose or repeat no update."""

from contextlib import contextmanager

import psycopg
import pytest

from tests.service import PATIENCE_SECONDS, Service, wait_for

CREATE = "/web/v1/workspaces/ws_demo/stripe/connections/create"
# More than the threads of one worker.
CALLERS = 12
CALLS = 30
THREADS = 8
WIDEN = "ALTER TABLE stripe_connections_stripeconnection ALTER COLUMN {} TYPE varchar({})"


def end_sessions(chain):
    chain.rows(
        f"SELECT pg_terminate_backend(pid, {PATIENCE_SECONDS * 1000}) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@contextmanager
def read_only(chain, setting):
    """Make the database read-only with `setting`, like a primary that was demoted."""

    def change(value):
        statement = setting.format(database=chain.database_url.partition("?")[0].rpartition("/")[2])
        options = "-c default_transaction_read_only=off"
        with psycopg.connect(chain.database_url, autocommit=True, options=options) as session:
            session.execute(f"{statement} {value}")
            session.execute("SELECT pg_reload_conf()")

    def is_read_only():
        return chain.rows("SHOW default_transaction_read_only") == [("on",)]

    change("SET default_transaction_read_only = on")
    # PostgreSQL tells every running session to reload before it starts a new one with the setting.
    wait_for(is_read_only, "A read-only database")
    try:
        yield
    finally:
        change("RESET default_transaction_read_only")
        wait_for(lambda: not is_read_only(), "A database that can be written")


@pytest.fixture(
    params=["ALTER SYSTEM", "ALTER DATABASE {database}"], ids=["running sessions", "new sessions"]
)
def read_only_database(chain, request):
    warm_up(chain)
    with read_only(chain, request.param):
        end_sessions(chain)
        yield
    chain.recover()


def warm_up(chain):
    """Let the sessions of the service prepare its statements."""
    with chain.load(CALLERS) as load:
        load.reach(100)


@pytest.fixture
def changed_column(chain):
    """Change the type of a column that every update selects."""
    warm_up(chain)
    chain.rows(WIDEN.format("partner_endpoint", 3000))
    yield
    chain.rows(WIDEN.format("partner_endpoint", 2048))


def test_no_request_fails_after_the_type_of_a_column_changed(chain, changed_column):
    statuses = [chain.rename(f"Changed {number}").status for number in range(CALLS)]

    assert statuses == [200] * CALLS
    assert chain.audited_names("Changed ") == {f"Changed {n}": 1 for n in range(CALLS)}


def test_no_request_fails_if_the_type_of_a_column_changes_under_load(chain):
    with chain.load(CALLERS) as load:
        for length in (3000, 2048):
            load.reach(len(load.acknowledged) + 40)
            chain.rows(WIDEN.format("partner_endpoint", length))
        load.reach(len(load.acknowledged) + 40)

    assert (load.refused, load.errors) == ([], {})
    load.assert_nothing_was_lost()
    load.assert_all_was_answered()


def test_no_request_fails_after_the_sessions_ended(chain):
    warm_up(chain)
    end_sessions(chain)

    assert [chain.rename("Ended").status for _ in range(CALLS)] == [200] * CALLS


def test_sessions_that_end_under_load_lose_and_repeat_no_update(chain):
    with chain.load(CALLERS) as load:
        for _ in range(3):
            load.reach(len(load.acknowledged) + 40)
            end_sessions(chain)
        load.reach(len(load.acknowledged) + 40)

    assert {(answer.status, answer.json["code"]) for answer in load.refused} <= {(503, "5030")}
    assert load.errors == {}
    load.assert_nothing_was_lost()
    assert set(chain.audited_names(load.run_name).values()) == {1}


def test_creations_whose_sessions_end_are_not_repeated(chain):
    answers = []
    with chain.load(2) as load:
        for number in range(5):
            answers.append(chain.ask({"connectionName": f"Created {number}"}, path=CREATE))
            end_sessions(chain)
    names = chain.rows(
        "SELECT connection_name, count(*) FROM stripe_connections_stripeconnection "
        "WHERE connection_name LIKE 'Created %' GROUP BY 1"
    )

    assert {answer.status for answer in answers} <= {200, 503}
    created = {a.json["data"]["connectionName"] for a in answers if a.status == 200}
    assert created <= {name for name, _ in names}
    assert {count for _, count in names} == {1}
    load.assert_nothing_was_lost()


def test_read_only_database_is_503_and_the_service_not_ready(chain, read_only_database):
    before = chain.audited_names("Read-only")
    answers = [chain.rename("Read-only") for _ in range(CALLS)]
    answers += [chain.ask({"connectionName": "Read-only"}, path=CREATE) for _ in range(4)]
    wait_for(lambda: probe(chain).status == 503, "An unready service")

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(503, "5030")}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert probe(chain).json["failed"] == ["database"]
    assert chain.audited_names("Read-only") == before


def probe(chain, port=None):
    return chain.ask("", path="/readyz", method="GET", port=port or chain.service.port)


@pytest.mark.parametrize("setting", ["ALTER SYSTEM", "ALTER DATABASE {database}"])
def test_no_restart_is_needed_when_the_database_can_be_written_again(chain, setting):
    with read_only(chain, setting):
        end_sessions(chain)
        statuses = [chain.rename("Read-only").status for _ in range(CALLS)]
    wait_for(lambda: probe(chain).status == 200, "A ready service")

    assert set(statuses) == {503}
    assert [chain.rename("Again").status for _ in range(CALLS)] == [200] * CALLS


def test_command_reports_a_read_only_database_in_one_line(chain):
    with read_only(chain, "ALTER DATABASE {database}"):
        ended = chain.service.run("clearsessions")

    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("Error: cannot execute DELETE in a read-only transaction")


@pytest.fixture
def short_lived(chain, tmp_path):
    """A service whose threads end after 5 idle seconds, the minimum of the server."""
    url = f"{chain.database_url}&application_name=short_lived"
    service = Service(url, tmp_path, GRANIAN_BLOCKING_THREADS_IDLE_TIMEOUT="5")
    yield service
    service.stop()


def test_session_ends_with_its_thread(chain, short_lived):
    def sessions():
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'short_lived'"
        return chain.rows(sql)[0][0]

    def all_sessions():
        found = sessions()
        return found if found >= THREADS else None

    with chain.held(), chain.load(3 * THREADS, short_lived.port, ["sc_abc123"]):
        # Not after the load, because a thread that has nothing to do for five seconds ends.
        most = wait_for(all_sessions, "A session for each thread")
    # The last thread waits for the next request.
    wait_for(lambda: sessions() <= 1, "The end of idle sessions")

    assert most == THREADS
