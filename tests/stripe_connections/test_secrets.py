"""Hints, fingerprints and the keyring."""

import re
from base64 import urlsafe_b64encode

import pytest
from cryptography.fernet import Fernet

from stripe_connections.models import StripeConnection
from stripe_connections.secrets.columns import HINT_LENGTH, hint_of
from stripe_connections.secrets.keyring import Keyring, keyring
from tests.conftest import plain, random_api_key

# Twelve characters that a hint hides, and four that it shows.
HIDDEN, TAIL = "abcdEFGH0123", "4242"


PREFIXES = [
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "sk_org_live_",
    "sk_org_test_",
    "whsec_",
    "sk_",
    "rk_",
    "sk_org_",
]


def test_hint_is_the_prefix_and_the_last_four():
    assert [hint_of(prefix + HIDDEN + TAIL) for prefix in PREFIXES] == [
        f"{prefix}…{TAIL}" for prefix in PREFIXES
    ]


@pytest.mark.parametrize("rest", ["", "a", TAIL, HIDDEN, HIDDEN[1:] + TAIL])
def test_hint_of_a_short_secret_is_only_its_prefix(rest):
    prefixes = ["sk_live_", "rk_test_", "sk_org_live_", "whsec_"]

    assert [hint_of(prefix + rest) for prefix in prefixes] == [f"{each}…" for each in prefixes]


HINTS = {
    HIDDEN + TAIL: f"…{TAIL}",
    "whsec_" + HIDDEN + "/+_=": "whsec_…/+_=",
    "sk_live_live_" + HIDDEN + TAIL: f"sk_live_…{TAIL}",
    "ABC_" + HIDDEN + TAIL: f"…{TAIL}",
    "abcdefghi_" + HIDDEN + TAIL: f"…{TAIL}",
}


def test_hint_contains_only_a_known_prefix():
    assert {secret: hint_of(secret) for secret in HINTS} == HINTS


def test_longest_hint_fits_its_column():
    assert len(hint_of("abcdefgh_org_live_" + HIDDEN + TAIL)) <= HINT_LENGTH


@pytest.mark.parametrize("value", [None, b"sk_bytes", 1])
def test_hint_of_other_types_is_refused(value):
    with pytest.raises(TypeError):
        hint_of(value)


def test_fingerprint_is_the_same_for_the_same_secret():
    secret = random_api_key()

    assert keyring().fingerprint(secret) == keyring().fingerprint(secret)
    assert re.fullmatch(r"[0-9a-f]{64}", keyring().fingerprint(secret))


def test_fingerprint_differs_between_secrets():
    assert keyring().fingerprint(random_api_key()) != keyring().fingerprint(random_api_key())


def test_fingerprint_is_keyed(settings):
    secret = random_api_key()
    before = keyring().fingerprint(secret)
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]

    assert keyring().fingerprint(secret) != before


def test_fingerprint_uses_the_first_key(settings):
    secret = random_api_key()
    first, second = settings.FERNET_KEYS

    assert keyring().fingerprint(secret) == Keyring.of((first,)).fingerprint(secret)
    assert keyring().fingerprint(secret) != Keyring.of((second,)).fingerprint(secret)


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_connection_with_a_secret_is_found_under_every_key(
    workspace, make_connection, settings, extra
):
    holder, _ = make_connection(workspace), make_connection(workspace)
    secret = plain(holder, "api_key")
    settings.FERNET_KEYS = [
        *(Fernet.generate_key().decode() for _ in range(extra)),
        *settings.FERNET_KEYS,
    ]

    found = StripeConnection.objects.filter(api_key_fingerprint__in=keyring().fingerprints(secret))
    assert list(found) == [holder]


def test_replaced_secret_gets_a_new_hint_fingerprint_and_time(connection):
    secret = random_api_key("rk_test_")
    before = connection.api_key_replaced_at
    connection.replace_secret("api_key", secret)
    connection.save()

    assert plain(connection, "api_key") == secret
    assert connection.api_key_hint == f"rk_test_…{secret[-4:]}"
    assert connection.api_key_fingerprint == keyring().fingerprint(secret)
    assert connection.api_key_replaced_at > before


def test_repr_of_the_keyring_shows_no_key(settings):
    shown = repr(keyring())

    assert shown == "Keyring()"


@pytest.mark.parametrize("spelling", ["+/", "-_"])
def test_both_base64_alphabets_of_a_key_are_equivalent(
    workspace, make_connection, settings, spelling
):
    key = urlsafe_b64encode(b"\xfb\xff" * 16).decode()
    settings.FERNET_KEYS = [key]
    holder = make_connection(workspace)
    secret = plain(holder, "api_key")
    settings.FERNET_KEYS = [key.translate(str.maketrans("-_", spelling))]

    assert plain(StripeConnection.objects.get(), "api_key") == secret
    assert list(StripeConnection.objects.holding(secret)) == [holder]
