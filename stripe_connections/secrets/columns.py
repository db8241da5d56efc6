"""What is written when a connection gets a new secret."""

from typing import Any

from django.utils import timezone

from stripe_connections.secrets.fields import encrypted
from stripe_connections.secrets.hints import hint_of
from stripe_connections.secrets.keyring import keyring


def column_names(name: str) -> tuple[str, str, str, str]:
    """The columns of a secret: ciphertext, hint, fingerprint and the time of its replacement."""
    return name, f"{name}_hint", f"{name}_fingerprint", f"{name}_replaced_at"


def described(name: str, secret: str) -> dict[str, Any]:
    """The columns beside a new secret, by name.

    Raises a TypeError, which does not repeat the secret, if that is not text.
    """
    if not isinstance(secret, str):
        raise TypeError(f"{name} takes text, not {type(secret).__name__}.")
    values = (hint_of(secret), keyring().fingerprint(secret), timezone.now())
    return dict(zip(column_names(name)[1:], values, strict=True))


def secret_columns(workspace_pk: int, biz_id: str, name: str, secret: str) -> dict[str, Any]:
    """All columns of a new secret, by name; `described`, and the ciphertext first.

    `name` is one of SECRET_FIELDS; only with this workspace and business id can it be decrypted.
    """
    known = described(name, secret)
    return {name: encrypted(workspace_pk, biz_id, name, secret), **known}
