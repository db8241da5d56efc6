"""A model field whose text is encrypted at rest and bound to its row."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import fernet_fields
from cryptography.fernet import InvalidToken
from django.db.backends.base.base import BaseDatabaseWrapper

from stripe_connections.secrets.columns import encrypted
from stripe_connections.secrets.keyring import keyring, secret_context


class UndecryptableSecretError(Exception):
    """The ciphertext was not encrypted for this row and field under one of FERNET_KEYS."""


class Row(Protocol):
    """What a secret is bound to, in addition to its field: a connection, for example."""

    workspace_id: Any
    biz_id: Any


@dataclass(frozen=True, slots=True)
class Secret:
    """A stored secret. It can be copied, pickled and compared, and its `repr` reveals nothing."""

    name: str
    ciphertext: bytes = field(repr=False)

    def reveal(self, row: Row) -> str:
        """The plain text; raises UndecryptableSecretError if it was not encrypted for `row`."""
        try:
            return keyring().decrypt(self.ciphertext, self._context(row))
        except InvalidToken:
            # Without the cause and the bytes, because exceptions are logged.
            raise UndecryptableSecretError(f"{self.name} cannot be decrypted.") from None

    def position(self, row: Row) -> int | None:
        """The position of its key in the ring, None if it has none. Nothing is decrypted."""
        return keyring().position_of(self.ciphertext, self._context(row))

    def _context(self, row: Row) -> bytes:
        return secret_context(row.workspace_id, row.biz_id, self.name)


class EncryptedTextField(fernet_fields.EncryptedTextField):
    """Text, stored as a Fernet token (https://github.com/fernet/spec) in a binary column.

    A loaded value is a `Secret`, which is only decrypted by `reveal`. Assigned text is encrypted
    when the instance is saved, because the key is derived for the row: `save` and `bulk_create`
    work; `update` and `bulk_update`, which have no instance, raise a TypeError, and so does
    `dumpdata`. An expression is a TypeError too; the library would encrypt the text of its SQL.

    To rotate the keys, put a new key at the beginning of FERNET_KEYS, re-encrypt every row, and
    remove the old key when no row needs it any more.
    """

    def pre_save(self, instance: Any, add: Any) -> Any:
        """The `Secret` to store, which replaces text on `instance`."""
        value = getattr(instance, self.attname)
        if isinstance(value, str):
            ciphertext = encrypted(instance.workspace_id, instance.biz_id, self.attname, value)
            value = Secret(self.attname, ciphertext)
            setattr(instance, self.attname, value)
        return value

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        """The ciphertext to store."""
        if value is None:
            return None
        if not isinstance(value, Secret) or value.name != self.attname:
            raise TypeError(f"{self.name} cannot be stored from a {type(value).__name__}.")
        return connection.Database.Binary(value.ciphertext)  # type: ignore[attr-defined]  # PEP 249

    def from_db_value(self, value: Any, *args: Any) -> Secret | None:
        """The stored bytes as a Secret. SQLite may return text instead, which is accepted."""
        if value is None:
            return None
        return Secret(self.attname, value.encode() if isinstance(value, str) else bytes(value))

    def to_python(self, value: Any) -> Any:
        """The value unchanged: a Secret must not become text."""
        return value

    def value_to_string(self, obj: Any) -> str:
        """Raises a TypeError, so that no fixture contains a secret."""
        raise TypeError(f"{self.name} cannot be serialized. Back up the database instead.")
