"""A text column that is encrypted at rest."""

from typing import Any

import fernet_fields
from cryptography.fernet import InvalidToken, MultiFernet
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BinaryField, Value, When
from django.db.models.expressions import Col

from stripe_connections.secrets.keyring import keyring


class UndecryptableSecretError(Exception):
    """What is stored is not text encrypted under one of FERNET_KEYS."""


class EncryptedTextField(fernet_fields.EncryptedTextField):  # type: ignore[misc]  # untyped library
    """Text, stored as a Fernet token (https://github.com/fernet/spec) in a binary column.

    A token has no key id and no tie to its row: it is encrypted under the first of FERNET_KEYS
    and decrypted by trying each in turn. To rotate, put a new key in front, re-encrypt every
    row, and drop the old key when no row needs it any more.

    The library encrypts whatever it is given. An expression, which is what `bulk_update` makes,
    it would encrypt as the text of its SQL; here it is passed through untouched, so that the
    values inside it are encrypted each for itself. One that would store a value as plain text is a
    TypeError, as is anything else but text and None. What cannot be decrypted is an
    UndecryptableSecretError, never the stored bytes.
    """

    @property
    def fernet(self) -> MultiFernet:
        """Today's keys; the library would keep those it saw first."""
        return keyring().fernet

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        """The token to store."""
        if value is None or (hasattr(value, "as_sql") and not _stores_plain_text(value)):
            return value
        if not isinstance(value, str):
            raise TypeError(f"{self.name} takes text or None, not {type(value).__name__}.")
        return super().get_db_prep_save(value, connection)

    def from_db_value(self, value: Any, *args: Any) -> str | None:
        """The text; UndecryptableSecretError where there is none to be had."""
        return None if value is None else decrypted(self.name, value)


class TokenField(BinaryField):  # type: ignore[type-arg]  # generic in the stubs only
    """What an EncryptedTextField stores, as bytes whatever a hand has put there."""

    def from_db_value(self, value: Any, *args: Any) -> bytes | None:
        if value is None:
            return None
        return value.encode() if isinstance(value, str) else bytes(value)


def decrypted(name: str, token: Any) -> str:
    """The text that the stored `token` of the field `name` holds, or UndecryptableSecretError."""
    try:
        return keyring().fernet.decrypt(bytes(token)).decode()
    except (InvalidToken, TypeError, ValueError):
        # Neither the cause nor the bytes: an exception's text ends in logs.
        raise UndecryptableSecretError(f"{name} cannot be decrypted.") from None


def _stores_plain_text(expression: Any) -> bool:
    """Whether a value inside `expression` would be stored as it is.

    Django encrypts the values of an expression that is told to be of this field, as those of
    `bulk_update` are, and another column of such a field holds tokens already.
    """
    match expression:
        case Value(value=None):
            return False
        case Value() | Col():
            return not isinstance(expression.output_field, EncryptedTextField)
        case When():
            return _stores_plain_text(expression.result)
        case _:
            return any(map(_stores_plain_text, expression.get_source_expressions()))
