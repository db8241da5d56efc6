"""A connection whose key was replaced, and helpers to restore secrets."""

import pytest
from django.utils import timezone

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import ReplacedSecret, StripeConnection
from tests.conftest import plain, random_api_key, random_webhook_secret

ACTOR = Actor(None, Source.COMMAND, "run-1")
MAKE = {"api_key": random_api_key, "webhook_secret": random_webhook_secret}


def current(name="api_key", biz_id="sc_abc123"):
    """Decrypt the stored secret."""
    return plain(StripeConnection.objects.get(biz_id=biz_id), name)


def replace(connection, actor=ACTOR, **changes):
    return services.update_connection(
        workspace=connection.workspace, biz_id=connection.biz_id, changes=changes, actor=actor
    )


def restore(connection, name="api_key", actor=ACTOR, **options):
    return services.restore_secret(
        workspace=connection.workspace, biz_id=connection.biz_id, name=name, actor=actor, **options
    )


def age(by, rows=None):
    """Make kept secrets older by this time."""
    for row in ReplacedSecret.objects.all() if rows is None else rows:
        row.replaced_at -= by
        row.valid_until -= by
        row.save()


def keep(connection, count, replaced_at=None):
    """Keep the current key `count` times, without the service."""
    at = replaced_at or timezone.now()
    stored = StripeConnection.objects.with_secrets().get(pk=connection.pk)
    rows = (
        ReplacedSecret(
            connection=connection, field="api_key", version=1_000 + number, is_restore=False,
            ciphertext=stored.api_key.ciphertext, hint=stored.api_key_hint,
            fingerprint=stored.api_key_fingerprint, replaced_at=at, valid_until=at,
        )
        for number in range(count)
    )  # fmt: skip
    ReplacedSecret.objects.bulk_create(rows, batch_size=1_000)


@pytest.fixture
def replaced(connection):
    """The connection, its old key, and the new key that replaced it."""
    old, new = current(), random_api_key()
    replace(connection, api_key=new)
    return connection, old, new
