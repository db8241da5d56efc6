"""Concurrent restores and rotations, and an undone replacement."""

import io
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connections

from stripe_connections import services
from stripe_connections.models import ReplacedSecret, StripeConnection
from stripe_connections.undo.replaced import RestoreError
from tests.conftest import random_api_key
from tests.stripe_connections.undo.conftest import current, replace, restore

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database_file")]
ROUNDS = 10


def at_once(*calls):
    """Run the calls at the same time; return the exception of each, or None."""
    start = Barrier(len(calls))

    def one(call):
        start.wait(120)
        try:
            call()
        except (services.VersionConflictError, RestoreError) as error:
            return type(error)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_one_of_many_concurrent_restores_succeeds(replaced):
    connection, old, _ = replaced
    found = at_once(*[lambda: restore(connection)] * 8)

    assert current() == old
    assert found.count(None) == 1
    assert StripeConnection.objects.get().version == 3


def rotate():
    out = io.StringIO()
    call_command("rotate_secrets", "--apply", stdout=out, stderr=out)


def test_concurrent_restore_and_rotation(connection, settings):
    """Afterwards, the new key alone can decrypt every secret, whichever was first."""
    for _ in range(ROUNDS):
        old = current()
        replace(connection, api_key=random_api_key())
        settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS[:1]]

        assert at_once(lambda: restore(connection), rotate) == [None, None]
        settings.FERNET_KEYS = settings.FERNET_KEYS[:1]

        assert current() == old
        rows = ReplacedSecret.objects.select_related("connection")
        assert {row.secret.position(row.connection) for row in rows} == {0}


@pytest.mark.usefixtures("no_records")
def test_replacement_that_cannot_be_recorded_is_undone(connection, stored):
    before = stored(connection)
    with pytest.raises(Exception, match="records"):
        replace(connection, api_key=random_api_key())

    assert stored(connection) == before
    assert not ReplacedSecret.objects.exists()
    assert not LogEntry.objects.exists()
