"""What is shown of a secret."""

import re

# The last four characters are shown only of a secret that keeps at least as many others hidden
# as it takes to make guessing hopeless (12 of 62 characters are 71 bits).
MIN_HIDDEN_CHARACTERS = 12
HINT_LENGTH = 32
FINGERPRINT_LENGTH = 64

# "sk_live_", "rk_test_", "sk_org_live_", "whsec_"
# (https://docs.stripe.com/keys, https://docs.stripe.com/webhooks#verify-official-libraries).
_prefix = re.compile(r"[a-z]{1,8}_(?:org_)?(?:(?:live|test)_)?")


def hint_of(secret: str) -> str:
    """A secret as Stripe's dashboard shows it: "sk_live_…4242"."""
    found = _prefix.match(secret)
    prefix = found[0] if found else ""
    hidden = len(secret) - len(prefix) - 4
    tail = secret[-4:] if hidden >= MIN_HIDDEN_CHARACTERS else ""
    return f"{prefix}…{tail}"
