"""The keys of FERNET_KEYS, and the keys that are derived from them."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from django.conf import settings

FINGERPRINT = b"stripe_connections.fingerprint"
# From one base64 alphabet to the other.
URL_SAFE = str.maketrans("+/", "-_")


def secret_context(workspace_id: int, biz_id: str, name: str) -> bytes:
    """The place of a secret: the field `name` of one connection of one workspace.

    It is unambiguous, because a primary key and a field name contain no colon.
    """
    return f"stripe_connections.secret:{workspace_id}:{name}:{biz_id}".encode()


@dataclass(frozen=True)
class RingKey:
    """One key of the ring: 32 bytes, in either base64 alphabet.

    Nothing is encrypted under the key itself. Each secret has its own key, derived with its
    context, so a ciphertext that is copied to another row, field or workspace cannot be decrypted
    there. One derived key computes the fingerprints of all rows, so one query finds every row with
    a leaked secret; without the ring, nobody can compute a fingerprint.
    """

    _derive: HMAC = field(repr=False)
    _fingerprint: HMAC = field(repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """The key that `text` contains in base64; a ValueError if it is not a Fernet key."""
        derive = HMAC(key_bytes(text), SHA256())
        return cls(derive, HMAC(_expand(derive, FINGERPRINT), SHA256()))

    def fernet(self, context: bytes) -> Fernet:
        """The Fernet instance for the secret of `context`."""
        return Fernet(urlsafe_b64encode(_expand(self._derive, context)))

    def fingerprint(self, secret: str) -> str:
        """An HMAC of `secret`, as 64 hexadecimal digits."""
        return _mac(self._fingerprint, secret.encode()).hex()


@dataclass(frozen=True)
class Keyring:
    """All keys, newest first: the first one encrypts, all of them decrypt."""

    keys: tuple[RingKey, ...] = field(repr=False)

    @classmethod
    def of(cls, keys: tuple[str, ...]) -> Self:
        """A ring of Fernet keys; a ValueError if one of them is not valid."""
        return cls(tuple(map(RingKey.of, keys)))

    def encrypt(self, secret: str, context: bytes) -> bytes:
        """The ciphertext of `secret` under the first key, readable in `context` only."""
        return self.keys[0].fernet(context).encrypt(secret.encode())

    def decrypt(self, ciphertext: bytes, context: bytes) -> str:
        """The secret; raises InvalidToken if no key can decrypt it in this `context`."""
        for key in self.keys:
            try:
                return key.fernet(context).decrypt(ciphertext).decode()
            except (InvalidToken, UnicodeDecodeError):
                continue
        raise InvalidToken

    def position_of(self, ciphertext: bytes, context: bytes) -> int | None:
        """The position of the key that can decrypt `ciphertext` in `context`, None if none can.

        Nothing is decrypted: a Fernet token is signed with an HMAC over all of its bytes, and
        `extract_timestamp` only checks that signature.
        """
        for position, key in enumerate(self.keys):
            try:
                key.fernet(context).extract_timestamp(ciphertext)
            except InvalidToken:
                continue
            return position
        return None

    def reencrypted(self, ciphertext: bytes, context: bytes) -> tuple[bytes, str] | None:
        """The same secret under the first key, as ciphertext and fingerprint.

        None if it is under the first key already. Raises InvalidToken if no key can decrypt it in
        `context`.
        """
        # The retired keys first, because most secrets of a rotation are under one of them, and to
        # check a signature with the wrong key takes a tenth of the time.
        first, *retired = self.keys
        for key in retired:
            try:
                secret = key.fernet(context).decrypt(ciphertext)
            except InvalidToken:
                continue
            return first.fernet(context).encrypt(secret), first.fingerprint(secret.decode())
        first.fernet(context).extract_timestamp(ciphertext)
        return None

    def fingerprint(self, secret: str) -> str:
        """The fingerprint of `secret` under the first key."""
        return self.keys[0].fingerprint(secret)

    def fingerprints(self, secret: str) -> list[str]:
        """The fingerprints of `secret` under every key, to find the rows that contain it."""
        return [key.fingerprint(secret) for key in self.keys]


def keyring() -> Keyring:
    """The current ring; built once for each value of FERNET_KEYS."""
    return _keyring(tuple(settings.FERNET_KEYS))


_keyring = lru_cache(maxsize=8)(Keyring.of)


def key_bytes(text: str) -> bytes:
    """The 32 bytes of a Fernet key in either base64 alphabet; a ValueError if it is not valid."""
    # The decoder stops at the padding, so it would ignore a second key after a space.
    if not re.fullmatch(r"[A-Za-z0-9+/_-]{43}=", text):
        raise ValueError("Not a Fernet key.")
    return urlsafe_b64decode(text.translate(URL_SAFE))


def _expand(key: HMAC, info: bytes) -> bytes:
    """HKDF-Expand (RFC 5869, section 2.3) to 32 bytes; a random key needs no extraction."""
    return _mac(key, info + b"\1")


def _mac(key: HMAC, data: bytes) -> bytes:
    # Copying an HMAC that has the key already takes half the time of creating one.
    keyed = key.copy()
    keyed.update(data)
    return keyed.finalize()
