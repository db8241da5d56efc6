"""The service with a real PgBouncer in transaction mode, which shares few sessions."""

import json
import os
import re
import secrets
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.deploy.chain import PORTAL, installed, version_of
from tests.deploy.conftest import need
from tests.deploy.test_stale_sessions import WIDEN, end_sessions, probe, read_only
from tests.service import ROOT, Process, Service, free_port, wait_for

# The first version that supports psycopg's prepared statements and their deallocation.
CARRIES_PREPARED_STATEMENTS = (1, 22)
# Fewer than the threads of the service.
SERVER_CONNECTIONS = 3
# PGBOUNCER can name a second program to test.
PROGRAMS = {os.environ.get("PGBOUNCER", "pgbouncer"), "pgbouncer"}


class PgBouncer(Process):
    """PgBouncer with the shipped configuration, except for addresses and the pool size."""

    def __init__(self, program, database, directory):
        self.carries = version_of(program) >= CARRIES_PREPARED_STATEMENTS
        self.password = secrets.token_urlsafe(20)
        users = directory / "users"
        users.write_text(f'"connections" "{self.password}"\n')
        shipped = (ROOT / "deploy/pgbouncer/pgbouncer.ini").read_text()
        if not self.carries:
            shipped = re.sub("(?m)^max_prepared_statements.*", "", shipped)
        port = free_port()
        config = directory / "pgbouncer.ini"
        config.write_text(
            f"{shipped}\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_file = {users}\n"
            f"default_pool_size = {SERVER_CONNECTIONS}\nstats_users = connections\n"
            f"[databases]\n* = host={database.socket_directory()}\n"
        )
        command = [program, str(config)]
        if user := database.server.system_user:  # not root, which it refuses
            command[1:1] = ["-u", user]
        super().__init__(command, port, directory / "pgbouncer.log", dict(os.environ))

    def url(self, name):
        return f"postgres://connections:{self.password}@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def pgbouncer(request, database):
    need("pgbouncer")
    directory = database.directory / f"pgbouncer-{free_port()}"
    directory.mkdir()
    started = PgBouncer(installed(request.param) or request.param, database, directory)
    database.execute("DROP ROLE IF EXISTS connections")
    database.execute("CREATE ROLE connections LOGIN SUPERUSER")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def service(chain, pgbouncer, tmp_path_factory):
    """Another service with the same database, through PgBouncer."""
    name = urlsplit(chain.database_url).path[1:]
    directory = tmp_path_factory.mktemp("pooled")
    more = {"PREPARED_STATEMENTS": str(pgbouncer.carries).lower()}
    service = Service(pgbouncer.url(name), directory, workers=2, **more)
    yield service
    service.stop()


def refused_at_once(load, service):
    """The refusals without those that waited for a session too long, as on a busy machine."""
    lines = [line for line in service.log.read_text().splitlines() if "query_wait_timeout" in line]
    waited = {json.loads(line)["request_id"] for line in lines}
    return [answer for answer in load.refused if answer.headers["x-request-id"] not in waited]


def test_many_threads_share_few_sessions(chain, service):
    with chain.load(12, service.port) as load:
        load.reach(100)

    assert (refused_at_once(load, service), load.errors) == ([], {})
    load.assert_nothing_was_lost()
    load.assert_all_was_answered()


def test_prepared_statements_work_after_refused_updates(chain, service):
    """After a rollback, psycopg deallocates its prepared statements."""
    answers = [
        chain.rename("New", connection, port=service.port, **headers, **PORTAL)
        for _ in range(20)
        for connection, headers in (
            ("sc_abc123", {}),
            ("sc_nothing", {}),
            ("sc_abc123", {"If-Match": '"0"'}),
        )
    ]

    assert [answer.status for answer in answers] == [200, 404, 412] * 20


def test_lock_timeout_of_a_call_does_not_apply_to_others(chain, service, pgbouncer):
    with chain.held():
        assert chain.rename("Held", port=service.port, **PORTAL).status == 503
    chain.rename("Free", port=service.port, **PORTAL)

    with closing(psycopg.connect(pgbouncer.url(urlsplit(chain.database_url).path[1:]))) as other:
        others = [other.execute("SHOW lock_timeout").fetchone() for _ in range(6)]
    assert set(others) == {("0",)}


def test_restarted_database_is_used_again(chain, service):
    chain.database.stop()
    try:
        answer = chain.rename("Behind a pool", port=service.port, **PORTAL)
    finally:
        chain.database.start()
    chain.recover(service.port)
    chain.recover()

    assert (answer.status, answer.json["code"]) == (503, "5030")
    assert chain.audited_names("Behind a pool") == {}


def test_no_request_fails_if_the_type_of_a_column_changes(chain, service):
    """PgBouncer's sessions keep prepared statements of earlier clients."""
    with chain.load(12, service.port) as load:
        for length in (3000, 2048):
            load.reach(len(load.acknowledged) + 50)
            chain.rows(WIDEN.format("partner_endpoint", length))
        load.reach(len(load.acknowledged) + 50)

    assert (refused_at_once(load, service), load.errors) == ([], {})
    load.assert_nothing_was_lost()
    load.assert_all_was_answered()


def test_ended_sessions_lose_and_repeat_no_update(chain, service):
    with chain.load(12, service.port) as load:
        for _ in range(3):
            load.reach(len(load.acknowledged) + 40)
            end_sessions(chain)
        load.reach(len(load.acknowledged) + 40)

    assert {(answer.status, answer.json["code"]) for answer in load.refused} <= {(503, "5030")}
    load.assert_nothing_was_lost()
    assert set(chain.audited_names(load.run_name).values()) == {1}


def test_read_only_database_is_503_until_it_can_be_written(chain, service):
    port, before = service.port, chain.audited_names("Read-only")
    with read_only(chain, "ALTER SYSTEM"):
        answers = [chain.rename("Read-only", port=port, **PORTAL) for _ in range(10)]
        wait_for(lambda: probe(chain, port).status == 503, "An unready service")
    wait_for(lambda: probe(chain, port).status == 200, "A ready service")

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(503, "5030")}
    assert chain.audited_names("Read-only") == before
    assert chain.rename("Again", port=port, **PORTAL).status == 200
