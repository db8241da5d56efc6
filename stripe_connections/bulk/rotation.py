"""Encrypts the secrets of many connections again, under the first of FERNET_KEYS.

The other commands update one connection at a time through `services.py`, about 1,300 per second. A
rotation writes 20,800, with one array for each column.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import psycopg
from cryptography.fernet import InvalidToken
from django.db import connection, transaction

from stripe_connections.audit import records
from stripe_connections.audit.records import Actor
from stripe_connections.models import SECRET_FIELDS, StripeConnection
from stripe_connections.secrets.keyring import keyring, secret_context
from stripe_connections.undo import replaced

READ_ON_POSTGRESQL = """
    SELECT id, workspace_id, biz_id, api_key, webhook_secret
    FROM stripe_connections_stripeconnection
    WHERE id = ANY(%b::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
"""
WRITE_ON_POSTGRESQL = """
    UPDATE stripe_connections_stripeconnection AS c SET
        api_key = COALESCE(n.api_key, c.api_key),
        api_key_fingerprint = COALESCE(n.api_key_fingerprint, c.api_key_fingerprint),
        webhook_secret = COALESCE(n.webhook_secret, c.webhook_secret),
        webhook_secret_fingerprint =
            COALESCE(n.webhook_secret_fingerprint, c.webhook_secret_fingerprint)
    FROM unnest(%b::bytea[], %b::text[], %b::bytea[], %b::text[], %b::bigint[])
        AS n (api_key, api_key_fingerprint, webhook_secret, webhook_secret_fingerprint, id)
    WHERE c.id = n.id AND c.id = ANY(%b::bigint[])
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
# By primary key, the names of the secrets that no key can decrypt.
Unreadable = defaultdict[int, list[str]]


class Reencrypted(NamedTuple):
    """A row that was not locked, and the names of the secrets that no key can decrypt in it."""

    pk: int
    biz_id: str
    is_changed: bool
    unreadable: list[str]


def reencrypt(pks: Sequence[int], actor: Actor, *, is_dry_run: bool = False) -> list[Reencrypted]:
    """Encrypt the secrets of these connections, and those that were replaced, under the first key.

    A secret that already is, or that no key can decrypt in its row, is not changed. `version`,
    `updated_at` and the hints stay the same, so that a client's `If-Match` still matches. The
    fingerprints change, because they depend on the first key.

    All in one transaction, with one audit record. Rows that another transaction has locked are
    left out. A dry run locks nothing.
    """
    unreadable: Unreadable = defaultdict(list)
    with nullcontext() if is_dry_run else transaction.atomic():
        rows = _read(pks, is_locked=not is_dry_run)
        changed = _reencrypted(rows, unreadable, actor, is_dry_run=is_dry_run)
    return [Reencrypted(pk, biz_id, pk in changed, unreadable[pk]) for pk, _, biz_id, *_ in rows]


def _read(pks: Sequence[int], *, is_locked: bool) -> list[Row]:
    # SQLite locks the whole database when the transaction begins.
    if is_locked and connection.vendor == "postgresql":
        return _execute(READ_ON_POSTGRESQL, [list(pks)]).fetchall()
    found = StripeConnection.objects.filter(pk__in=pks).order_by("pk")
    rows = found.values_list("pk", "workspace_id", "biz_id", *SECRET_FIELDS)
    return [(*row[:3], *(secret and secret.ciphertext for secret in row[3:])) for row in rows]


def _reencrypted(
    rows: Sequence[Row], unreadable: Unreadable, actor: Actor, *, is_dry_run: bool
) -> dict[int, list[str]]:
    """What was, or would be, encrypted again: by primary key, the names of the stored secrets."""
    new = [(*_renewed(unreadable, *row), row[0]) for row in rows]
    new = [row for row in new if any(row[:-1])]
    # After the connections are locked, so that no update keeps another secret in the meantime.
    kept, damaged = replaced.reencrypted([pk for pk, *_ in rows])
    for secret in damaged:
        unreadable[secret.connection_id].append(f"replaced {secret.field}")
    changed: dict[int, list[str]] = {secret.connection_id: [] for secret in kept}
    for *values, pk in new:
        changed[pk] = [n for n, value in zip(SECRET_FIELDS, values[::2], strict=True) if value]
    if changed and not is_dry_run:
        _write(new)
        replaced.save(kept)
        records.record_reencryption(changed, actor)
    return changed


def _renewed(
    unreadable: Unreadable, pk: int, workspace_id: int, biz_id: str, *stored: bytes | None
) -> tuple[bytes | str | None, ...]:
    """Ciphertext and fingerprint of each secret, or None to keep both."""
    ring = keyring()
    new: tuple[bytes | str | None, ...] = ()
    for name, ciphertext in zip(SECRET_FIELDS, stored, strict=True):
        pair = None
        if ciphertext is not None:
            context = secret_context(workspace_id, biz_id, name)
            try:
                pair = ring.reencrypted(ciphertext, context)
            except InvalidToken:
                unreadable[pk].append(name)
        new += pair or (None, None)
    return new


def _write(rows: Sequence[tuple[Any, ...]]) -> None:
    """Write locked rows: the new values, and the primary key."""
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            cursor.executemany(WRITE_ON_SQLITE, rows)
    elif rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        _execute(WRITE_ON_POSTGRESQL, [*columns, columns[-1]])


def _execute(sql: str, arrays: Sequence[Sequence[Any]]) -> psycopg.Cursor[Any]:
    """Run a statement with arrays and results in binary; Django's cursors send only text.

    An array of 1,000 elements then takes a tenth of the time.
    """
    driver: psycopg.Connection[Any] = connection.connection
    with connection.wrap_database_errors:
        return driver.execute(sql, arrays, binary=True)
