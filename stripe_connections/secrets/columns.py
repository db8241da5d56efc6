"""What is written when a connection gets a new secret."""

from typing import Any

from django.utils import timezone

from stripe_connections.secrets.hints import SecretTraces
from stripe_connections.secrets.keyring import keyring


def secret_columns(workspace_pk: int, biz_id: str, name: str, secret: str) -> dict[str, Any]:  # noqa: ARG001 - the row that the secret will be bound to
    """The columns of a new secret, by name: ciphertext, hint, fingerprint and time.

    `name` is one of SECRET_FIELDS; workspace and business id say to which row the secret belongs.
    Raises a TypeError, which does not repeat the secret, if that is not text.
    """
    if not isinstance(secret, str):
        raise TypeError(f"{name} takes text, not {type(secret).__name__}.")
    known = SecretTraces.of(secret)
    return {
        name: keyring().fernet.encrypt(secret.encode()),
        f"{name}_hint": known.hint,
        f"{name}_fingerprint": known.fingerprint,
        f"{name}_replaced_at": timezone.now(),
    }
