"""Gauges over the tables for `/metrics`: how many rows need attention.

A request for `/metrics` starts to compute them, but at most once a minute for all worker processes
of a server. prometheus_client shares the most recent values through PROMETHEUS_MULTIPROC_DIR. The
response has the previous values, so that neither a large table nor a database that does not respond
delays it.
"""

import fcntl
import logging
import os
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic
from typing import Any

from django.db import Error, connection
from django.db.models import Case, Count, Q, Value, When
from django.dispatch import receiver
from django.utils import timezone
from prometheus_client import Gauge

from config.observability import metrics
from stripe_connections.bulk import census
from stripe_connections.models import ReplacedSecret, StripeConnection
from stripe_connections.stripe_api.replies import Verification
from stripe_connections.undo import replaced

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 60
SAMPLE_SIZE = 400
# From how many days on a label applies to the oldest secret of a connection.
AGES = {365: "365+ days", 180: "180-364 days", 90: "90-179 days", 0: "0-89 days"}
NONE = "no secret"
SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = current_user AND datname = current_database()
"""

_gauge = partial(Gauge, multiprocess_mode="mostrecent")
CONNECTIONS = _gauge(
    "connections_stored", "Connections, by verification and age of the oldest secret.",
    ["outcome", "age"],
)  # fmt: skip
SAMPLED = _gauge(
    "secrets_sampled", f"Secrets of a sample, the {SAMPLE_SIZE} oldest and newest connections, "
    "by the key of FERNET_KEYS that encrypts them, or unreadable, plaintext or empty.", ["kind"],
)  # fmt: skip
REPLACED = _gauge("secrets_replaced", "Replaced secrets, kept or to be deleted.", ["state"])
DATABASE_SESSIONS = _gauge("database_sessions", "Sessions of this user of PostgreSQL.")
READ_AT = _gauge("tables_read_timestamp_seconds", "When the gauges over the tables were computed.")

# Without PROMETHEUS_MULTIPROC_DIR, this process has its own.
_own_directory = cache(TemporaryDirectory)


@receiver(metrics.requested)
def start(**_signal: Any) -> None:
    """Refresh the gauges in a thread, whose database session ends with it."""
    Thread(target=refresh_if_due, daemon=True).start()


def refresh_if_due() -> None:
    """Refresh the gauges, unless a process of this server does so or did within a minute."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or _own_directory().name
    path = Path(directory, "tables.lock")
    with path.open("a") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # All processes have this clock, and nobody sets it; it starts again with the machine.
        if 0 <= monotonic() - float(path.read_text() or "-inf") < REFRESH_SECONDS:
            return
        path.write_text(str(monotonic()))
        try:
            refresh()
        except Error as error:
            logger.warning("The gauges over the tables are not refreshed", exc_info=error)


def refresh() -> None:
    """Compute all gauges. One query reads all connections, and one all replaced secrets."""
    ages = [When(_is_old(days), then=Value(label)) for days, label in AGES.items()]
    groups = StripeConnection.objects.values_list("verification", Case(*ages, default=Value(NONE)))
    found = Counter({tuple(labels): count for *labels, count in groups.annotate(Count("pk"))})
    for labels in product(Verification.values, (*AGES.values(), NONE)):
        CONNECTIONS.labels(*labels).set(found[labels])
    for kind, count in census.sample(SAMPLE_SIZE).secrets.items():
        SAMPLED.labels(kind).set(count)
    expired = replaced.expired().count()
    REPLACED.labels("expired").set(expired)
    REPLACED.labels("kept").set(ReplacedSecret.objects.count() - expired)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            DATABASE_SESSIONS.set(cursor.execute(SESSIONS).fetchone()[0])
    READ_AT.set_to_current_time()


def _is_old(days: int) -> Q:
    """Connections of which a secret is in use for that many days."""
    limit = timezone.now() - timedelta(days=days)
    return Q(api_key_replaced_at__lte=limit) | Q(webhook_secret_replaced_at__lte=limit)
