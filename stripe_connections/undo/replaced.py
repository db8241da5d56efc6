"""Secrets that were replaced: which of them are kept, and what they are.

`statements.py` keeps them and `services.restore_secret` writes them back.
"""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from config.delete_expired import ExpiredRows
from stripe_connections.models import ReplacedSecret, StripeConnection
from stripe_connections.secrets.fields import UndecryptableSecretError


class RestoreError(Exception):
    """No secret can be restored: a code, and the reason."""

    # The name of the secret in the body of the call.
    field = "field"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def restorable() -> QuerySet[ReplacedSecret]:
    """The secrets that can be restored, newest first."""
    return ReplacedSecret.objects.filter(replaced_at__gt=_limit()).order_by("-version")


def expired() -> QuerySet[ReplacedSecret]:
    """The secrets that can neither be restored nor verify events any longer.

    Not if only the clock of this machine says so, and not that of the database: they would be gone.
    """
    rows = ReplacedSecret.objects.filter(replaced_at__lte=_limit(), valid_until__lte=timezone.now())
    rows = rows.filter(replaced_at__lte=Now() - timedelta(days=settings.SECRET_UNDO_DAYS))
    return rows.order_by("pk")


expired_rows = ExpiredRows(expired)


def by_connection(pks: Collection[int]) -> dict[int, list[ReplacedSecret]]:
    """All kept secrets of these connections by their primary keys."""
    found = defaultdict(list)
    for row in ReplacedSecret.objects.filter(connection__in=pks).order_by("pk"):
        found[row.connection_id].append(row)
    return found


def versions_of(connection: StripeConnection, run: str) -> dict[str, int]:
    """The fields whose last replacement was by this run or request, and the new version."""
    rows = restorable().filter(connection=connection).reverse()
    last = {row.field: row for row in rows}
    return {name: row.version for name, row in last.items() if row.request_id == run}


def secret_to_restore(connection: StripeConnection, name: str, version: int | None = None) -> str:
    """The secret of the field `name` before `version`, by default before its last replacement.

    A restore is not a replacement: to repeat a restore changes nothing. Raises a RestoreError.
    """
    rows = restorable().filter(connection=connection, field=name)
    found = rows.filter(**{"is_restore": False} if version is None else {"version": version})
    row = found.first()
    if row is None:
        raise RestoreError("not_found", "There is no replaced secret that can be restored.")
    if row.fingerprint == getattr(connection, f"{name}_fingerprint"):
        raise RestoreError("not_found", "The replaced secret is in use again.")
    try:
        return row.secret.reveal(connection)
    except UndecryptableSecretError:
        message = "No key of FERNET_KEYS can decrypt the replaced secret. Enter a new one."
        raise RestoreError("unreadable", message) from None


def save(rows: Collection[ReplacedSecret]) -> None:
    """Save new ciphertexts; a row that was deleted in the meantime stays deleted."""
    ReplacedSecret.objects.bulk_update(rows, ["ciphertext", "fingerprint"], batch_size=1_000)


def _limit() -> datetime:
    return timezone.now() - timedelta(days=settings.SECRET_UNDO_DAYS)
