"""Any number of the same service may start at once over a database that is empty."""

from concurrent.futures import ThreadPoolExecutor

from tests.deploy.chain import Service

STARTS = 2


def test_services_that_start_at_once_migrate_once(database, tmp_path):
    url = database.new()
    with ThreadPoolExecutor(STARTS) as pool:
        services = list(pool.map(lambda _: Service(url, tmp_path), range(STARTS)))

    migrations = "SELECT count(*), count(DISTINCT (app, name)) FROM django_migrations"
    ((applied, different),) = database.execute(migrations, url)
    assert [service.stop() for service in services] == [0] * STARTS
    assert applied == different > 0
