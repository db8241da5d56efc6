"""Several services can start at the same time with an empty database."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import psycopg
import pytest

from stripe_connections.management.commands.serve import MIGRATION_LOCK
from tests.production import PRODUCTION
from tests.service import PATIENCE_SECONDS, ROOT, Service, free_port, wait_for

STARTS = 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process with PID 1")
def test_service_in_a_container_can_be_stopped_while_it_waits_for_migrations(database, tmp_path):
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    url = database.new()
    environment = {"PATH": os.environ["PATH"]} | PRODUCTION | {"DATABASE_URL": url}
    serve = [sys.executable, "manage.py", "serve", "--port", str(free_port())]
    with psycopg.connect(url) as migrating:
        migrating.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        outer = psutil.Popen(["unshare", "-fp", "--kill-child", *serve], cwd=ROOT, env=environment)
        wait_for(lambda: database.execute(waiting, url) == [(1,)], "The wait for the lock")

        outer.children()[0].terminate()

        assert outer.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM


@pytest.fixture
def new_database(database, tmp_path):
    """A database that was created with the script for the PostgreSQL image."""
    password = tmp_path / "password"
    password.write_text("hunter'2\n")
    script = (ROOT / "deploy/database.sql").read_text()
    script = script.replace("/run/secrets/database_password", str(password))
    database.execute("DROP ROLE IF EXISTS connections")
    psql = [database.server.bin_path / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", database.url]
    subprocess.run(psql, input=script, text=True, check=True)
    yield database.url.replace("postgres:@/postgres", "connections:@/connections")
    # PostgreSQL would wait five seconds for sessions that are still ending.
    database.execute("DROP DATABASE connections WITH (FORCE)")
    database.execute("DROP ROLE connections")


def test_role_of_the_service_has_timeouts_and_no_privileges(database, new_database):
    role = "SELECT rolsuper, rolcreaterole, rolconfig FROM pg_roles WHERE rolname = current_user"

    assert database.execute(role, new_database) == [
        (False, False, ["statement_timeout=10s", "idle_in_transaction_session_timeout=60s"])
    ]
    assert database.execute("SHOW statement_timeout", new_database) == [("10s",)]


def test_concurrent_starts_with_the_role_migrate_once_and_collect_statistics(
    database, new_database, tmp_path
):
    with ThreadPoolExecutor(STARTS) as pool:
        services = list(pool.map(lambda _: Service(new_database, tmp_path), range(STARTS)))

    migrations = "SELECT count(*), count(DISTINCT (app, name)) FROM django_migrations"
    ((applied, different),) = database.execute(migrations, new_database)
    assert [service.stop() for service in services] == [0] * STARTS
    assert applied == different > 0
    rows = "SELECT reltuples > 0 FROM pg_class WHERE relname = 'auth_permission'"
    assert database.execute(rows, new_database) == [(True,)]
