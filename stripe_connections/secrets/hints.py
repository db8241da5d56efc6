"""What may be known of a secret without decrypting it."""

import re
from dataclasses import dataclass

from stripe_connections.secrets.keyring import keyring

# The last four characters are shown only of a secret that keeps at least as many others hidden
# as it takes to make guessing hopeless (12 of 62 characters are 71 bits).
MIN_HIDDEN_CHARACTERS = 12
HINT_LENGTH = 32
FINGERPRINT_LENGTH = 64

# "sk_live_", "rk_test_", "sk_org_live_", "whsec_"
# (https://docs.stripe.com/keys, https://docs.stripe.com/webhooks#verify-official-libraries).
_prefix = re.compile(r"[a-z]{1,8}_(?:org_)?(?:(?:live|test)_)?")


@dataclass(frozen=True)
class SecretTraces:
    """What stands beside a stored secret."""

    hint: str
    fingerprint: str

    @classmethod
    def of(cls, secret: str) -> "SecretTraces":
        """The hint, as Stripe's dashboard shows it ("sk_live_…4242"), and the fingerprint."""
        found = _prefix.match(secret)
        prefix = found[0] if found else ""
        hidden = len(secret) - len(prefix) - 4
        tail = secret[-4:] if hidden >= MIN_HIDDEN_CHARACTERS else ""
        return cls(hint=f"{prefix}…{tail}", fingerprint=keyring().fingerprint(secret))
