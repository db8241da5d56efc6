"""Any number of the same service may start at once over a database that is empty."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.service import ROOT, Service

STARTS = 2


def test_services_that_start_at_once_migrate_once(database, tmp_path):
    url = database.new()
    with ThreadPoolExecutor(STARTS) as pool:
        services = list(pool.map(lambda _: Service(url, tmp_path), range(STARTS)))

    migrations = "SELECT count(*), count(DISTINCT (app, name)) FROM django_migrations"
    ((applied, different),) = database.execute(migrations, url)
    assert [service.stop() for service in services] == [0] * STARTS
    assert applied == different > 0


@pytest.fixture
def new_database(database, tmp_path):
    """What the PostgreSQL image runs when its database is new."""
    password = tmp_path / "password"
    password.write_text("hunter'2\n")
    script = (ROOT / "deploy/database.sql").read_text()
    script = script.replace("/run/secrets/database_password", str(password))
    database.execute("DROP ROLE IF EXISTS connections")
    psql = [database.server.bin_path / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", database.url]
    subprocess.run(psql, input=script, text=True, check=True)
    yield database.url.replace("postgres:@/postgres", "connections:@/connections")
    database.execute("DROP DATABASE connections")
    database.execute("DROP ROLE connections")


def test_new_database_bounds_what_the_service_may_ask_of_it(database, new_database):
    role = "SELECT rolsuper, rolcreaterole, rolconfig FROM pg_roles WHERE rolname = current_user"

    assert database.execute(role, new_database) == [
        (False, False, ["statement_timeout=10s", "idle_in_transaction_session_timeout=60s"])
    ]
    assert database.execute("SHOW statement_timeout", new_database) == [("10s",)]


def test_service_starts_with_its_own_role(new_database, tmp_path):
    assert Service(new_database, tmp_path).stop() == 0
