"""Idempotency keys: a repeated request with the same `Idempotency-Key` creates nothing again.

Follows https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ except for two
concurrent requests: the second waits and returns the connection that the first has created.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any

from django.db import connection as database
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from config.delete_expired import ExpiredRows
from stripe_connections.models import IdempotencyKey, StripeConnection
from workspaces.models import Workspace

KEPT = timedelta(hours=24)


class KeyReusedError(Exception):
    """The key was used before, with a different body."""


@dataclass(frozen=True)
class IdempotencyRecord:
    """An idempotency key in `workspace`, with the body that it belongs to."""

    workspace: Workspace
    key_digest: str
    body: str = field(repr=False)

    @classmethod
    def of(cls, workspace: Workspace, key: str, values: Mapping[str, Any]) -> "IdempotencyRecord":
        """The record of a key, verbatim, and the validated values of the body."""
        # White space and order make no difference. A null field differs from an omitted one.
        body = json.dumps(values, sort_keys=True)
        return cls(workspace, hashlib.sha256(key.encode()).hexdigest(), body)

    def connection(self) -> StripeConnection | None:
        """The connection that was created with this key within 24 hours, or None.

        Raises KeyReusedError.
        """
        rows = self._rows().filter(created_at__gt=timezone.now() - KEPT)
        row = rows.values_list("body_fingerprint", "connection_id").first()
        if row is None:
            return None
        fingerprint, pk = row
        if not constant_time_compare(fingerprint, self._body_fingerprint()):
            raise KeyReusedError
        # Sets the workspace, which the caller has loaded with its tenant.
        connections = self.workspace.connections.with_overlap()
        found: StripeConnection | None = connections.filter(pk=pk).first()
        return found

    def remember(self, connection: StripeConnection, timeout: str) -> None:
        """Store the key in the transaction that creates `connection`.

        Raises an IntegrityError if a concurrent request has stored the same key. On PostgreSQL, it
        waits at most `timeout`, such as "5s", for that request.
        """
        if database.vendor == "postgresql":
            with database.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [timeout])
        _expired().filter(pk__in=self._rows()).delete()
        IdempotencyKey.objects.create(
            workspace=self.workspace,
            key_digest=self.key_digest,
            body_fingerprint=self._body_fingerprint(),
            connection=connection,
        )
        # Last, because the rows stay locked.
        if monotonic() >= expired_rows.due_at:
            expired_rows.delete()

    def _body_fingerprint(self) -> str:
        # With SECRET_KEY, because a key can be removed from FERNET_KEYS within the 24 hours.
        return salted_hmac(__name__, self.body, algorithm="sha256").hexdigest()

    def _rows(self) -> QuerySet[IdempotencyKey]:
        return IdempotencyKey.objects.filter(workspace=self.workspace, key_digest=self.key_digest)


def _expired() -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.filter(created_at__lte=timezone.now() - KEPT).order_by("pk")


expired_rows = ExpiredRows(_expired)
