"""Creations that may be asked for twice: with one `Idempotency-Key` there is one connection.

As https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ has it, but for twins
that come at the same time: the later one waits, and gets what the first one made.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import connection as database
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from config.delete_expired import sweep
from stripe_connections.models import IdempotencyKey, StripeConnection
from workspaces.models import Workspace

KEPT = timedelta(hours=24)
SWEEP_ROWS = 100


class KeyReusedError(Exception):
    """The key came with another body before."""


@dataclass(frozen=True)
class Once:
    """A creation in `workspace` that is to happen once."""

    workspace: Workspace
    key_digest: str
    body: str = field(repr=False)

    @classmethod
    def of(cls, workspace: Workspace, key: str, values: Mapping[str, Any]) -> "Once":
        """By the key as it was sent, and the validated values of the body."""
        # Whitespace and order are no difference; a field that is null is not one that is omitted.
        body = json.dumps(values, sort_keys=True)
        return cls(workspace, hashlib.sha256(key.encode()).hexdigest(), body)

    def connection(self) -> StripeConnection | None:
        """What was created with this key, as it is now; None where nothing was for 24 hours.

        Raises KeyReusedError.
        """
        rows = self._rows().filter(created_at__gt=timezone.now() - KEPT)
        row = rows.values_list("body_fingerprint", "connection_id").first()
        if row is None:
            return None
        fingerprint, pk = row
        if not constant_time_compare(fingerprint, self._body_fingerprint()):
            raise KeyReusedError
        connection: StripeConnection | None = StripeConnection.objects.filter(pk=pk).first()
        if connection:
            # The caller has it already, with its tenant.
            connection.workspace = self.workspace
        return connection

    def remember(self, connection: StripeConnection, timeout: str) -> None:
        """Keep that `connection` was created, in the transaction that does; sweep a few old keys.

        Raises an IntegrityError where a twin was faster, after having waited for it for `timeout`
        at most ("5s") on PostgreSQL.
        """
        if database.vendor == "postgresql":
            with database.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [timeout])
        over = IdempotencyKey.objects.filter(created_at__lte=timezone.now() - KEPT)
        over.filter(pk__in=self._rows()).delete()
        IdempotencyKey.objects.create(
            workspace=self.workspace,
            key_digest=self.key_digest,
            body_fingerprint=self._body_fingerprint(),
            connection=connection,
        )
        # Last, because it keeps the rows locked.
        sweep(over, SWEEP_ROWS)

    def _body_fingerprint(self) -> str:
        # Under SECRET_KEY, because a key of FERNET_KEYS can be dropped within the 24 hours.
        return salted_hmac(__name__, self.body, algorithm="sha256").hexdigest()

    def _rows(self) -> Any:
        return IdempotencyKey.objects.filter(workspace=self.workspace, key_digest=self.key_digest)
