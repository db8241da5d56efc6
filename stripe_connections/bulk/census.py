"""Which key of the ring each stored secret is under."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

from stripe_connections.models import StripeConnection
from stripe_connections.secrets.keyring import keyring

# Version 0x80 and a time of eight bytes, the first ones zero, as every Fernet token begins.
TOKEN_START = b"gAAAA"
MAX_EXAMPLES = 20
BROKEN = ("unreadable", "plaintext")


class Census:
    """Counts of secrets: "key 1" for the first key and so on, and what is under none."""

    def __init__(self) -> None:
        self._keys = [f"key {number}" for number in range(1, len(keyring().fernets) + 1)]
        self.secrets = Counter(dict.fromkeys((*self._keys, *BROKEN, "empty"), 0))
        # Of each kind that somebody must look after, the first few connections.
        self.examples: dict[str, list[str]] = {}

    def count(self, biz_id: str, tokens: Iterable[Any]) -> bool:
        """Count a connection's secrets; whether each is empty or under the first key."""
        kinds = [self._kind(token) for token in tokens]
        self.secrets.update(kinds)
        bad = {*kinds}.difference(self._keys[:1], ("empty",))
        for kind in bad:
            named = self.examples.setdefault(kind, [])
            if len(named) < MAX_EXAMPLES:
                named.append(biz_id)
        return not bad

    def _kind(self, token: Any) -> str:
        if not token:
            return "empty"
        position = keyring().position_of(bytes(token))
        if position is not None:
            return self._keys[position]
        return "unreadable" if bytes(token).startswith(TOKEN_START) else "plaintext"

    @property
    def retired_in_use(self) -> list[str]:
        """The retired keys that a secret still needs."""
        return [key for key in self._keys[1:] if self.secrets[key]]

    @property
    def droppable(self) -> list[str]:
        """The retired keys that no counted secret needs."""
        return [key for key in self._keys[1:] if not self.secrets[key]]

    @property
    def figures(self) -> str:
        """Every count in one line."""
        return ", ".join(f"{kind}: {count}" for kind, count in self.secrets.items())


def count_unreadable() -> int:
    """The number of stored secrets that no key of the ring can read."""
    census = Census()
    for biz_id, *tokens in StripeConnection.objects.token_rows("biz_id").iterator():
        census.count(biz_id, tokens)
    return sum(census.secrets[kind] for kind in BROKEN)


def sample(size: int) -> Census:
    """The census of the oldest and the newest connections, half of `size` each.

    The oldest are under the oldest keys; the newest tell whether the first key is the one that
    the other processes write with.
    """
    census = Census()
    connections = StripeConnection.objects.token_rows("pk", "biz_id")
    rows = chain(connections.order_by("pk")[: size // 2], connections.order_by("-pk")[: size // 2])
    for biz_id, *tokens in {row[0]: row[1:] for row in rows}.values():
        census.count(biz_id, tokens)
    return census
