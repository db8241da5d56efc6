"""Encrypts the secrets of many connections again, under the first of FERNET_KEYS.

The other commands update one connection at a time through `services.py`, about 1,300 per second. A
rotation writes about 18,000, with one array for each column.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from cryptography.fernet import InvalidToken
from django.db import connection, transaction

from stripe_connections.audit import records
from stripe_connections.audit.records import Actor
from stripe_connections.models import SECRET_FIELDS, ReplacedSecret, StripeConnection
from stripe_connections.secrets.keyring import keyring, secret_context
from stripe_connections.undo import replaced

READ_ON_POSTGRESQL = """
    SELECT id, workspace_id, biz_id, api_key, webhook_secret
    FROM stripe_connections_stripeconnection
    WHERE id = ANY(%s::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
"""
WRITE_ON_POSTGRESQL = """
    UPDATE stripe_connections_stripeconnection AS c SET
        api_key = COALESCE(n.api_key, c.api_key),
        api_key_fingerprint = COALESCE(n.api_key_fingerprint, c.api_key_fingerprint),
        webhook_secret = COALESCE(n.webhook_secret, c.webhook_secret),
        webhook_secret_fingerprint =
            COALESCE(n.webhook_secret_fingerprint, c.webhook_secret_fingerprint)
    FROM unnest(%s::bytea[], %s::text[], %s::bytea[], %s::text[], %s::bigint[])
        AS n (api_key, api_key_fingerprint, webhook_secret, webhook_secret_fingerprint, id)
    WHERE c.id = n.id AND c.id = ANY(%s::bigint[])
"""
WRITE_ON_SQLITE = """
    UPDATE stripe_connections_stripeconnection SET
        api_key = COALESCE(%s, api_key),
        api_key_fingerprint = COALESCE(%s, api_key_fingerprint),
        webhook_secret = COALESCE(%s, webhook_secret),
        webhook_secret_fingerprint = COALESCE(%s, webhook_secret_fingerprint)
    WHERE id = %s
"""

# Primary key, workspace, business ID and ciphertexts.
Row = tuple[Any, ...]
# Ciphertext and fingerprint of a secret under the first key.
New = tuple[bytes, str]


@dataclass(slots=True)
class Reencrypted:
    """A row that was not locked, and what changes in it."""

    pk: int
    biz_id: str
    # Of the secrets that are not under the first key yet, by name.
    new: dict[str, New] = field(default_factory=dict)
    # Those that it kept when they were replaced.
    kept: list[ReplacedSecret] = field(default_factory=list)
    # The names of the secrets that no key can decrypt.
    unreadable: list[str] = field(default_factory=list)

    @property
    def is_changed(self) -> bool:
        return bool(self.new or self.kept)


def reencrypt(pks: Sequence[int], actor: Actor, *, is_dry_run: bool = False) -> list[Reencrypted]:
    """Encrypt the secrets of these connections, and those that were replaced, under the first key.

    A secret that already is, or that no key can decrypt in its row, is not changed. `version`,
    `updated_at` and the hints stay the same, so that a client's `If-Match` still matches. The
    fingerprints change, because they depend on the first key.

    All in one transaction, with one audit record. Rows that another transaction has locked are
    left out. A dry run locks nothing.
    """
    with nullcontext() if is_dry_run else transaction.atomic():
        stored = _read(pks, is_locked=not is_dry_run)
        # After the connections are locked, so that no update keeps another secret in the meantime.
        kept = replaced.by_connection(pks)
        rows = [_reencrypted(kept[row[0]], *row) for row in stored]
        changed = {row.pk: [*row.new] for row in rows if row.is_changed}
        if changed and not is_dry_run:
            _write([row for row in rows if row.new])
            replaced.save([secret for row in rows for secret in row.kept])
            records.record_reencryption(changed, actor)
    return rows


def _read(pks: Sequence[int], *, is_locked: bool) -> list[Row]:
    # SQLite locks the whole database when the transaction begins.
    if is_locked and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(READ_ON_POSTGRESQL, [list(pks)])
            return list(cursor)
    found = StripeConnection.objects.filter(pk__in=pks).order_by("pk")
    rows = found.values_list("pk", "workspace_id", "biz_id", *SECRET_FIELDS)
    return [(*row[:3], *(secret and secret.ciphertext for secret in row[3:])) for row in rows]


def _reencrypted(
    kept: Iterable[ReplacedSecret], pk: int, workspace_id: int, biz_id: str, *stored: bytes | None
) -> Reencrypted:
    """What changes in a row and in the secrets that it kept, which get their new values here."""
    row = Reencrypted(pk, biz_id)
    ring = keyring()

    def new(name: str, ciphertext: bytes, label: str) -> New | None:
        try:
            return ring.reencrypted(ciphertext, secret_context(workspace_id, biz_id, name))
        except InvalidToken:
            row.unreadable.append(label)
            return None

    for name, ciphertext in zip(SECRET_FIELDS, stored, strict=True):
        if ciphertext is not None and (pair := new(name, ciphertext, name)):
            row.new[name] = pair
    for secret in kept:
        if pair := new(secret.field, bytes(secret.ciphertext), f"replaced {secret.field}"):
            secret.ciphertext, secret.fingerprint = pair
            row.kept.append(secret)
    return row


def _write(rows: Sequence[Reencrypted]) -> None:
    """Write locked rows: the new values, or None to keep them, and the primary key."""
    values = [
        (*chain.from_iterable(row.new.get(name, (None, None)) for name in SECRET_FIELDS), row.pk)
        for row in rows
    ]
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.executemany(WRITE_ON_SQLITE, values)
        elif values:
            columns = [list(column) for column in zip(*values, strict=True)]
            cursor.execute(WRITE_ON_POSTGRESQL, [*columns, columns[-1]])
