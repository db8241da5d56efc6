"""The keys of FERNET_KEYS, and what is derived from them."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


@dataclass(frozen=True)
class Keyring:
    """Every key, newest first: the first one encrypts, all of them decrypt.

    Each Fernet key has a fingerprint key of its own, derived from it, so that there is nothing
    more to keep or to rotate, and nobody can compute a fingerprint who could not decrypt.
    """

    fernets: tuple[Fernet, ...] = field(repr=False)
    fingerprint_keys: tuple[HMAC, ...] = field(repr=False)

    @classmethod
    def of(cls, keys: tuple[str, ...]) -> Self:
        """A ring of Fernet keys; ValueError for one that is none."""
        return cls(
            fernets=tuple(_fernet(key) for key in keys),
            fingerprint_keys=tuple(_fingerprint_key(key) for key in keys),
        )

    @property
    def fernet(self) -> MultiFernet:
        """What encrypts with the first key and decrypts with any."""
        return MultiFernet(self.fernets)

    def position_of(self, token: bytes) -> int | None:
        """The position of the key that `token` is encrypted under, None where it is no key here.

        Nothing is decrypted: a Fernet token is sealed with an HMAC over all of its bytes, so one
        whose seal holds can be decrypted, and one that was damaged or sealed by another key can
        not. `extract_timestamp` is the library's way to check the seal alone.
        """
        for position, fernet in enumerate(self.fernets):
            try:
                fernet.extract_timestamp(token)
            except InvalidToken:
                continue
            return position
        return None

    def reencrypted(self, token: bytes) -> tuple[bytes, str] | None:
        """The secret of `token` under the first key, as token and fingerprint.

        None where it is under the first key; InvalidToken where it is under none.
        """
        # The retired keys first: what is to be rotated is under one of them, and the seal of each
        # key that is not the right one costs a tenth of the whole work to check.
        for fernet in self.fernets[1:]:
            try:
                secret = fernet.decrypt(token)
            except InvalidToken:
                continue
            return self.fernets[0].encrypt(secret), self.fingerprint(secret.decode())
        self.fernets[0].extract_timestamp(token)
        return None

    def fingerprint(self, secret: str) -> str:
        """64 hexadecimal digits that stand for `secret`, under the first key."""
        return _fingerprint(self.fingerprint_keys[0], secret)

    def fingerprints(self, secret: str) -> list[str]:
        """What `secret` may be stored as, under any key: for finding who holds it."""
        return [_fingerprint(key, secret) for key in self.fingerprint_keys]


def keyring() -> Keyring:
    """Today's ring; made once for each value of FERNET_KEYS."""
    return _keyring(tuple(settings.FERNET_KEYS))


_keyring = lru_cache(maxsize=8)(Keyring.of)


def _fernet(key: str) -> Fernet:
    # The library reads no further than the padding, and so drops a second key after a space.
    if not re.fullmatch(r"[A-Za-z0-9+/_-]{43}=", key):
        raise ValueError("That is no Fernet key.")
    return Fernet(key)


def _fingerprint_key(fernet_key: str) -> HMAC:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"stripe_connections.fingerprint")
    return HMAC(hkdf.derive(fernet_key.encode()), SHA256())


def _fingerprint(key: HMAC, secret: str) -> str:
    # A copy of what has taken the key in already costs half of a new one.
    keyed = key.copy()
    keyed.update(secret.encode())
    return keyed.finalize().hex()
