"""The rules for names, keys, account IDs and configurations.

Each function raises Django's ValidationError with a code, so the API, the admin and the commands
have the same messages. None of them repeats the value, which may be a secret.
"""

import re
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import ValidationError

from config.web_chain.parsers import parse_json, refuse_bad_text
from config.web_chain.serializers import too_long

MAX_CONFIG_BYTES = 16 * 1024
# After the prefix and the mode. Stripe's secrets are longer: a shorter value was cut off, or is the
# placeholder of an example.
MIN_SECRET_LENGTH = 10

# Stripe's names for values with these prefixes (https://docs.stripe.com/keys).
FAMILIES = {
    "sk_": "a secret key",
    "rk_": "a restricted key",
    "rkcs_": "a claimable sandbox's key, made by the Stripe CLI",
    "mk_": "the ID of a key, not the key",
    "absec_": "the signing secret of a Stripe App",
    "pss_": "a secret of another kind",
    "seti_": "the ID or client secret of a SetupIntent",
    "pi_": "the ID or client secret of a PaymentIntent",
    "pk_": "a publishable key",
    "ek_": "an ephemeral key",
    "whsec_": "a webhook signing secret",
    "we_": "the ID of a webhook endpoint",
    "acct_": "an account ID",
    "ca_": "a Connect client ID",
}
# The characters that programs show instead of a secret; no secret contains them.
_mask = re.compile(r"[*•●∙·⋅⬤◦▪■█‧․…]|\.\.\.")
# Unicode's category Cc.
find_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
_control_but_space = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]").search
# They change the direction of the following text, so a name could look like another one.
_bidi = re.compile(r"[\u202a-\u202e\u2066-\u2069]").search
# Neither white space nor Unicode's Default_Ignorable_Code_Point, nor the empty Braille pattern
# (https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt).
_visible = re.compile(
    r"[^\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
).search
_mode = re.compile(r"^(org_)?(live|test)_")
_key_alphabet = re.compile(r"[A-Za-z0-9_]+").fullmatch
_webhook_alphabet = re.compile(r"[A-Za-z0-9+/=_-]+").fullmatch
_account_id = re.compile(r"acct_[A-Za-z0-9]+").fullmatch


def validate_connection_name(value: str) -> None:
    """At least one visible character; no control characters and no bidirectional overrides."""
    if find_control(value):
        raise ValidationError(
            "Must not contain control characters or line breaks.", "control_characters"
        )
    if _bidi(value):
        raise ValidationError(
            "Must not contain characters that change the direction of text.",
            code="bidi_characters",
        )
    if not _visible(value):
        raise ValidationError("Must contain a visible character.", code="blank")


def validate_connection_description(value: str) -> None:
    """No control characters except tab and line ends."""
    if _control_but_space(value):
        raise ValidationError(
            "Must not contain control characters except tabs and line breaks.",
            code="control_characters",
        )


def validate_stripe_account_id(value: str) -> None:
    """`acct_`, then letters and digits."""
    if not _account_id(value):
        raise ValidationError(
            "Must be a Stripe account ID: acct_ followed by letters and digits.",
            code="not_an_account_id",
        )


def validate_api_key(value: str) -> None:
    """One of STRIPE_API_KEY_PREFIXES, then letters, digits and underscores."""
    prefixes = tuple(settings.STRIPE_API_KEY_PREFIXES)
    _validate_secret(value, "Stripe secret or restricted key", prefixes, _key_alphabet)


def validate_webhook_secret(value: str) -> None:
    """`whsec_`, then letters, digits and `+ / = _ -`."""
    _validate_secret(value, "webhook signing secret", ("whsec_",), _webhook_alphabet)


def _validate_secret(
    value: str, kind: str, prefixes: tuple[str, ...], in_alphabet: Callable[[str], object]
) -> None:
    wanted = f"Must be a {kind} ({' or '.join(f'{prefix}…' for prefix in prefixes)})."
    params = {"prefixes": list(prefixes)}
    if _mask.search(value):
        text = f"Not the whole value: part of it is masked. {wanted}"
        raise ValidationError(text, code="masked", params=params)
    prefix = next((prefix for prefix in prefixes if value.startswith(prefix)), None)
    if prefix is None:
        family = next((name for start, name in FAMILIES.items() if value.startswith(start)), None)
        if family:
            raise ValidationError(f"This is {family}. {wanted}", code="wrong_family", params=params)
        raise ValidationError(wanted, code="not_a_stripe_secret", params=params)
    rest = value[len(prefix) :]
    if rest and not in_alphabet(rest):
        raise ValidationError(
            f"Not a valid {kind}: a character after {prefix} is not allowed, such as white space.",
            code="not_a_stripe_secret",
        )
    if len(_mode.sub("", rest)) < MIN_SECRET_LENGTH:
        raise ValidationError(
            f"Too short for a {kind}: copy the whole value from the Stripe Dashboard.",
            code="too_short",
        )


def validate_config_json(value: str) -> None:
    """One JSON object of at most 16 KiB, parsed as strictly as a request's body."""
    if len(value.encode()) > MAX_CONFIG_BYTES:
        raise too_long("bytes in UTF-8", MAX_CONFIG_BYTES)
    try:
        config = parse_json(value)
    except ValueError:
        raise ValidationError("Must be valid JSON.", code="not_json") from None
    refuse_bad_text(config)
    if not isinstance(config, dict):
        raise ValidationError("Must be a JSON object: {…}.", code="not_an_object")
