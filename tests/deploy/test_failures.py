"""No acknowledged update is lost if the database, the service or a worker stops at any time."""

import pytest

from tests.service import wait_for

# More than the threads of one worker.
CALLERS = 10
OTHERS = 4


@pytest.fixture
def stopped_database(chain):
    chain.rename("Before")
    chain.database.stop()
    yield
    chain.database.start()
    chain.recover()


def test_stopped_database_is_503_until_it_is_started(chain, stopped_database):
    answers = [chain.rename("Without a database") for _ in range(3)]
    chain.database.start()
    wait_for(lambda: chain.rename("After").status == 200, "The recovery")

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(503, "5030")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert chain.name_of() == "After"
    assert chain.audited_names("Without a database") == {}


def test_no_request_fails_after_a_restart_of_the_database(chain):
    with chain.load(CALLERS) as load:
        load.reach(100)
    chain.database.stop()
    chain.database.start()

    assert [chain.rename("Again").status for _ in range(60)] == [200] * 60


@pytest.fixture
def hung_service(chain):
    """A service with suspended workers, and Nginx with a timeout of one second instead of 15."""
    config = chain.nginx.directory / "connections.conf"
    shipped = config.read_text()
    config.write_text(shipped.replace("proxy_read_timeout 15s", "proxy_read_timeout 1s"))
    chain.nginx.stop()
    chain.nginx.start()
    workers = chain.service.workers()
    for worker in workers:
        worker.suspend()
    yield
    for worker in workers:
        worker.resume()
    config.write_text(shipped)
    chain.nginx.stop()
    chain.nginx.start()


def test_service_that_hangs_is_504_in_the_envelope(chain, hung_service):
    answer = chain.rename("Late")

    assert (answer.status, answer.json["code"]) == (504, "5030")
    assert int(answer.headers["retry-after"]) >= 1


def test_stop_under_load_loses_nothing_and_is_502_with_nginx_until_the_start(chain):
    """Some callers do not use Nginx, which would turn a truncated response into a 502."""
    with (
        chain.load(CALLERS, chain.service.port) as direct,
        chain.load(OTHERS, first=CALLERS) as load,
    ):
        direct.reach(100)
        load.reach(40)
        ended = chain.service.stop()
        wait_for(lambda: load.refused, "A refusal")
    chain.service.start()
    chain.recover()

    assert ended == 0
    assert direct.refused == []
    # A connection may be closed between two requests, but not during a response (IncompleteRead).
    assert set(direct.errors) <= {
        "refused", "RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"
    }  # fmt: skip
    assert {(answer.status, answer.json["code"]) for answer in load.refused} == {(502, "5030")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in load.refused)
    assert load.errors == {}
    for each in (direct, load):
        each.assert_nothing_was_lost()
        each.assert_all_was_answered()


def test_killed_worker_loses_no_acknowledged_update(chain):
    with chain.load(CALLERS) as load:
        load.reach(100)
        killed = chain.service.workers()[0]
        killed.kill()
        load.reach(len(load.acknowledged) + 100)
        wait_for(lambda: killed.pid not in workers(chain) and len(workers(chain)) == 2, "A new one")
        load.reach(len(load.acknowledged) + 100)

    assert {(answer.status, answer.json["code"]) for answer in load.refused} <= {(502, "5030")}
    assert load.errors == {}
    load.assert_nothing_was_lost()


def workers(chain):
    return {worker.pid for worker in chain.service.workers()}
