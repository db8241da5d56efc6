"""What is acknowledged is never lost: database, service or a worker may go at any moment."""

import pytest

from tests.service import wait_for

# More than one worker has threads.
CALLERS = 10


@pytest.fixture
def stopped_database(chain):
    chain.rename("Before")
    chain.database.stop()
    yield
    chain.database.start()
    chain.recover()


def test_stopped_database_is_503_until_it_is_back(chain, stopped_database):
    answers = [chain.rename("Without a database") for _ in range(3)]
    chain.database.start()
    wait_for(lambda: chain.rename("After").status == 200, "The recovery")

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(503, "5030")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert chain.name_of() == "After"
    assert chain.audited_names("Without a database") == {}


def test_restarted_database_costs_no_request(chain):
    with chain.load(CALLERS) as load:
        load.reach(200)
    chain.database.stop()
    chain.database.start()

    assert [chain.rename("Again").status for _ in range(60)] == [200] * 60


def test_stopped_service_is_502_until_it_is_back(chain):
    chain.service.stop()
    try:
        answer = chain.rename("Without a service")
    finally:
        chain.service.start()
    chain.recover()

    assert (answer.status, answer.json["code"]) == (502, "5030")
    assert int(answer.headers["retry-after"]) >= 1
    assert chain.audited_names("Without a service") == {}


@pytest.fixture
def hung_service(chain):
    """The workers stand still, and nobody is to wait for fifteen seconds here."""
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


def test_stop_under_load_loses_nothing_and_cuts_nothing_off(chain):
    """Straight at the service: Nginx would turn a cut into a 502."""
    with chain.load(CALLERS, chain.service.port) as load:
        load.reach(200)
        ended = chain.service.stop()
    chain.service.start()

    assert ended == 0
    assert load.refused == []
    # A connection that closes between two requests; never within an answer (IncompleteRead).
    assert set(load.errors) <= {
        "refused", "RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"
    }  # fmt: skip
    load.assert_nothing_was_lost()
    load.assert_all_was_answered()


def test_stop_under_load_is_502_behind_nginx(chain):
    with chain.load(CALLERS) as load:
        load.reach(200)
        chain.service.stop()
        wait_for(lambda: load.refused, "A refusal")
    chain.service.start()

    assert {(answer.status, answer.json["code"]) for answer in load.refused} == {(502, "5030")}
    assert load.errors == {}
    load.assert_nothing_was_lost()
    load.assert_all_was_answered()


def test_killed_worker_loses_nothing_that_was_acknowledged(chain):
    with chain.load(CALLERS) as load:
        load.reach(200)
        killed = chain.service.workers()[0]
        killed.kill()
        load.reach(len(load.acknowledged) + 200)
        wait_for(lambda: killed.pid not in workers(chain) and len(workers(chain)) == 2, "A new one")
        load.reach(len(load.acknowledged) + 200)

    assert {(answer.status, answer.json["code"]) for answer in load.refused} <= {(502, "5030")}
    assert load.errors == {}
    load.assert_nothing_was_lost()


def workers(chain):
    return {worker.pid for worker in chain.service.workers()}
