"""Probes: whether this process is alive, and whether it can serve requests."""

from threading import Lock
from time import monotonic

from django.core.checks import Tags, run_checks
from django.db import DEFAULT_DB_ALIAS, Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

RESULT_SECONDS = 1
# The check of a sample of the stored secrets.
UNREADABLE = "stripe_connections.E010"
# PostgreSQL says whether it is read-only or in recovery. SQLite writes the same number again, which
# fails if the file is read-only or the disk is full.
CAN_WRITE = {"postgresql": "SHOW transaction_read_only", "sqlite": "PRAGMA user_version = 0"}


def healthz(_: HttpRequest) -> HttpResponse:
    """200 if this process responds at all."""
    return JsonResponse({"status": "ok"})


def readyz(_: HttpRequest) -> HttpResponse:
    """200, or 503 with the check that failed: `database`, `migrations` or `keys`."""
    failed = readiness.failed()
    if failed:
        return JsonResponse({"status": "unavailable", "failed": [failed]}, status=503)
    return JsonResponse({"status": "ok"})


class Readiness:
    """The result of the checks, cached for a second so that many probes cause no load."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._failed: str | None = "database"
        self._expires_at = float("-inf")
        self._is_migrated = False

    def failed(self) -> str | None:
        """The first check that fails, None if all succeed; each depends on those before it.

        A probe that arrives during another one's checks gets the previous result: a database that
        does not respond keeps one thread waiting, not one for each probe.
        """
        if monotonic() >= self._expires_at and self._lock.acquire(blocking=False):
            try:
                self._failed = self._check()
                self._expires_at = monotonic() + RESULT_SECONDS
            finally:
                self._lock.release()
        return self._failed

    def _check(self) -> str | None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(CAN_WRITE[connection.vendor])
                if connection.vendor == "postgresql" and cursor.fetchone() == ("on",):
                    # A new session may be able to write.
                    connection.close()
                    return "database"
            # Applied migrations stay applied while this process is alive.
            self._is_migrated = self._is_migrated or _is_migrated()
            if not self._is_migrated:
                return "migrations"
            found = run_checks(tags=[Tags.database], databases=[DEFAULT_DB_ALIAS])
        except Error:
            return "database"
        return "keys" if any(message.id == UNREADABLE for message in found) else None


readiness = Readiness()


def _is_migrated() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
