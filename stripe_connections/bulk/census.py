"""Counts the stored secrets by the key of FERNET_KEYS that they are encrypted under."""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any

from stripe_connections.models import SECRET_FIELDS, ReplacedSecret, StripeConnection
from stripe_connections.secrets.fields import Secret
from stripe_connections.secrets.keyring import keyring

# Every Fernet token begins with the version 0x80 and a time whose first bytes are zero.
TOKEN_START = b"gAAAA"
MAX_EXAMPLES = 20
# The columns to read.
COUNTED = ("pk", "workspace_id", "biz_id", *SECRET_FIELDS)
BROKEN = ("unreadable", "plaintext")


class Census:
    """The number of secrets under "key 1" (the first key), "key 2" and so on, and of others."""

    def __init__(self, rows: Iterable[Any] = ()) -> None:
        self._keys = [f"key {number}" for number in range(1, len(keyring().keys) + 1)]
        self.secrets = Counter(dict.fromkeys((*self._keys, *BROKEN, "empty"), 0))
        # The first connections of each kind that needs attention.
        self.examples: dict[str, list[str]] = {}
        for row in rows:
            self.count(row)

    def count(self, row: Any, kept: Iterable[ReplacedSecret] = ()) -> bool:
        """Count the secrets of a row, and those it `kept`.

        Returns whether each is empty or under the first key.
        """
        secrets = [*(getattr(row, name) for name in SECRET_FIELDS), *(k.secret for k in kept)]
        kinds = [self._kind(secret, row) for secret in secrets]
        self.secrets.update(kinds)
        bad = {*kinds}.difference(self._keys[:1], ("empty",))
        for kind in bad:
            named = self.examples.setdefault(kind, [])
            if len(named) < MAX_EXAMPLES:
                named.append(row.biz_id)
        return not bad

    def _kind(self, secret: Secret | None, row: Any) -> str:
        if not (secret and secret.ciphertext):
            return "empty"
        position = secret.position(row)
        if position is not None:
            return self._keys[position]
        return "unreadable" if secret.ciphertext.startswith(TOKEN_START) else "plaintext"

    @property
    def retired_in_use(self) -> list[str]:
        """The retired keys that are still needed."""
        return [key for key in self._keys[1:] if self.secrets[key]]

    @property
    def droppable(self) -> list[str]:
        """The retired keys that no counted secret needs."""
        return [key for key in self._keys[1:] if not self.secrets[key]]

    @property
    def figures(self) -> str:
        return ", ".join(f"{kind}: {count}" for kind, count in self.secrets.items())


def count_unreadable() -> int:
    """The number of stored secrets that no key of FERNET_KEYS can decrypt."""
    census = Census(StripeConnection.objects.values_list(*COUNTED, named=True).iterator())
    return sum(census.secrets[kind] for kind in BROKEN)


def sample(size: int) -> Census:
    """The census of `oldest_and_newest`."""
    return Census(oldest_and_newest(size))


def oldest_and_newest(size: int) -> Collection[Any]:
    """The columns to count of the oldest and the newest connections, half of `size` each.

    The oldest are under the oldest keys; the newest tell whether the first key is the one that
    the other processes write with. Tuples, because models would take half as long as the check.
    """
    rows = StripeConnection.objects.values_list(*COUNTED, named=True)
    ends = chain(rows.order_by("pk")[: size // 2], rows.order_by("-pk")[: size // 2])
    return {row.pk: row for row in ends}.values()
