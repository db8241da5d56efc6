"""Encrypt every stored secret under a key derived for its workspace, row and field.

Before, a ciphertext could be decrypted wherever it was copied, and a fingerprint depended on how
its key was spelled. Every secret comes under the first of FERNET_KEYS. One that no key can read is
left as it is and counted in the log; `census_secrets` names its connection.

Rows are converted in batches, each locked and committed for itself, so a million rows are never
held at once. A secret that is converted already is left, so a run that was interrupted is
continued by the next one. No audit record is written, because nothing that anybody reads changes.
"""

import logging
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import connections, migrations, transaction

from stripe_connections.secrets.keyring import keyring, secret_context

logger = logging.getLogger(__name__)

BATCH_SIZE = 1_000
SECRETS = ("api_key", "webhook_secret")
WRITE = """
    UPDATE stripe_connections_stripeconnection SET
        verification_fingerprint = CASE WHEN verification_fingerprint = api_key_fingerprint
            THEN COALESCE(%s, api_key_fingerprint) ELSE verification_fingerprint END,
        api_key = COALESCE(%s, api_key),
        api_key_fingerprint = COALESCE(%s, api_key_fingerprint),
        webhook_secret = COALESCE(%s, webhook_secret),
        webhook_secret_fingerprint = COALESCE(%s, webhook_secret_fingerprint)
    WHERE id = %s
"""


class Unbound:
    """The encryption before this migration, with the methods of a Keyring."""

    def __init__(self) -> None:
        self._ring = MultiFernet([Fernet(key) for key in settings.FERNET_KEYS])
        info = b"stripe_connections.fingerprint"
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
        self._fingerprint_key = hkdf.derive(settings.FERNET_KEYS[0].encode())

    def encrypt(self, secret: str, context: bytes) -> bytes:
        return self._ring.encrypt(secret.encode())

    def decrypt(self, ciphertext: bytes, context: bytes) -> str:
        return self._ring.decrypt(ciphertext).decode()

    def fingerprint(self, secret: str) -> str:
        keyed = HMAC(self._fingerprint_key, SHA256())
        keyed.update(secret.encode())
        return keyed.finalize().hex()


def bind(apps: Any, schema_editor: Any) -> None:
    """Bind the secrets to their rows."""
    _convert(apps, schema_editor, Unbound, keyring)


def unbind(apps: Any, schema_editor: Any) -> None:
    """Bring them back to what older versions read."""
    _convert(apps, schema_editor, keyring, Unbound)


def _convert(apps: Any, schema_editor: Any, old: Any, new: Any) -> None:
    alias = schema_editor.connection.alias
    rows = apps.get_model("stripe_connections", "StripeConnection").objects.using(alias)
    rows = rows.order_by("pk").values_list("pk", "workspace_id", "biz_id", *SECRETS)
    unreadable = last = 0
    while rows.filter(pk__gt=last).exists():
        source, target = old(), new()
        with transaction.atomic(alias):
            batch = list(rows.filter(pk__gt=last).select_for_update()[:BATCH_SIZE])
            last, *_ = batch[-1]
            converted = [_converted(row, source, target) for row in batch]
            with connections[alias].cursor() as cursor:
                cursor.executemany(WRITE, [values for values, _ in converted if any(values[:-1])])
        unreadable += sum(count for _, count in converted)
    if unreadable:
        logger.warning("%d secrets cannot be read and were left: see census_secrets", unreadable)


def _converted(row: tuple[Any, ...], source: Any, target: Any) -> tuple[list[Any], int]:
    """The parameters of WRITE, None to keep a value, and the number of unreadable secrets."""
    pk, workspace_id, biz_id, *stored = row
    values: list[Any] = []
    unreadable = 0
    for name, secret in zip(SECRETS, stored, strict=True):
        context = secret_context(workspace_id, biz_id, name)
        text = secret and _decrypted(source, secret.ciphertext, context)
        if text is not None:
            values += [target.encrypt(text, context), target.fingerprint(text)]
            continue
        values += [None, None]
        if secret and _decrypted(target, secret.ciphertext, context) is None:
            unreadable += 1
    return [values[1], *values, pk], unreadable


def _decrypted(ring: Any, ciphertext: bytes, context: bytes) -> str | None:
    try:
        text: str = ring.decrypt(ciphertext, context)
    except (InvalidToken, UnicodeDecodeError):
        return None
    return text


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("stripe_connections", "0007_idempotency_key")]
    operations = [migrations.RunPython(bind, unbind)]
