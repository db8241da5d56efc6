"""The columns of a secret: its ciphertext, hint, fingerprint and the time of its replacement."""

import re
from hashlib import sha256
from typing import Any

from django.utils import timezone

from stripe_connections.secrets.keyring import keyring, secret_context

# A hint contains the last four characters only if this number of others stays hidden: 12 random
# letters and digits are 71 bits, too many to guess.
MIN_HIDDEN_CHARACTERS = 12
HINT_LENGTH = 32
FINGERPRINT_LENGTH = 64

# "sk_live_", "rk_test_", "sk_org_live_", "whsec_"
# (https://docs.stripe.com/keys, https://docs.stripe.com/webhooks#verify-official-libraries).
_prefix = re.compile(r"[a-z]{1,8}_(?:org_)?(?:(?:live|test)_)?")


def column_names(name: str) -> tuple[str, str, str, str]:
    """The columns of a secret: ciphertext, hint, fingerprint and the time of its replacement."""
    return name, f"{name}_hint", f"{name}_fingerprint", f"{name}_replaced_at"


def secret_columns(workspace_pk: int, biz_id: str, name: str, secret: str) -> dict[str, Any]:
    """All columns of a new secret, by name: the ciphertext and those of `described`.

    `name` is one of SECRET_FIELDS. The ciphertext can only be decrypted with this workspace and
    business ID.
    """
    known = described(name, secret)
    return {name: encrypted(workspace_pk, biz_id, name, secret), **known}


def described(name: str, secret: str) -> dict[str, Any]:
    """The columns of a new secret except its ciphertext, by name.

    Raises a TypeError, which does not repeat the secret, if it is not text.
    """
    if not isinstance(secret, str):
        raise TypeError(f"{name} takes text, not {type(secret).__name__}.")
    values = (hint_of(secret), keyring().fingerprint(secret), timezone.now())
    return dict(zip(column_names(name)[1:], values, strict=True))


def encrypted(workspace_id: int, biz_id: str, name: str, secret: str) -> bytes:
    """The ciphertext of a secret in the field `name`; a ValueError if its row is unknown."""
    if not (workspace_id and biz_id):
        raise ValueError(f"{name} needs a connection with a workspace and a business ID.")
    return keyring().encrypt(secret, secret_context(workspace_id, biz_id, name))


def digest_of(secret: str) -> str:
    """What a leaked secret is recognized by. "burnt" stays, because digests are stored."""
    return sha256(f"stripe_connections.burnt:{secret}".encode()).hexdigest()


def hint_of(secret: str) -> str:
    """The prefix and the end of a secret, as in Stripe's Dashboard: "sk_live_…4242"."""
    found = _prefix.match(secret)
    prefix = found[0] if found else ""
    hidden = len(secret) - len(prefix) - 4
    tail = secret[-4:] if hidden >= MIN_HIDDEN_CHARACTERS else ""
    return f"{prefix}…{tail}"
