"""System checks of the settings and of the stored secrets.

A weak secret is an error, or a warning if DEBUG is on. A missing or malformed one is always an
error.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings
from django.contrib.auth.models import User
from django.core.checks import ERROR, INFO, WARNING, CheckMessage, Tags, register
from django.core.checks.security.base import SECRET_KEY_INSECURE_PREFIX
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.db import connection as database
from django.db.migrations.recorder import MigrationRecorder
from rest_framework.settings import api_settings as rest_settings
from rest_framework_simplejwt.settings import api_settings as jwt_settings

from stripe_connections.bulk.census import BROKEN, sample
from stripe_connections.management.commands import load_demo
from stripe_connections.secrets.keyring import URL_SAFE, key_bytes
from workspaces.tokens import issues_tokens

# RFC 7518, section 3.2: a key of HS256 has at least 256 bits.
MIN_KEY_LENGTH = 32
MIN_DIFFERENT_CHARACTERS = 10
# The connections whose secrets are checked at the start, which takes a few milliseconds.
SAMPLE_SIZE = 100
SIGNING_ALGORITHMS = ("HS256", "HS384", "HS512")
VERIFYING_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
# By the first letter of a message's number.
LEVELS = {"E": ERROR, "W": WARNING, "I": INFO}

RATE = r"[1-9][0-9]{0,11}/(s|sec|second|m|min|minute|h|hour|d|day)"
# What the Host header of a request can match.
ALLOWED_HOST = r"(?i)\*|\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]"
# What browsers send: lower case, and without a default port.
ORIGIN = (
    r"(?!https.*:443$|http:.*:80$)(https://([a-z0-9.-]+|\[[0-9a-f:]+\])"
    r"|http://(127\.0\.0\.1|localhost|\[::1\]))(:[1-9][0-9]{0,4})?"
)
# With a malformed address, every key would just be unverified.
_HOST, _PORT = r"([A-Za-z0-9._-]+|\[[0-9a-f:.]+\])", "(:[1-9][0-9]{0,4})?/?"
ANY_BASE = f"https?://{_HOST}{_PORT}"
SAFE_BASE = rf"(https://{_HOST}|http://(127\.0\.0\.1|localhost|\[::1\])){_PORT}"
# The path of a list after /v1/: `customers`, `checkout/sessions`.
PERMISSION = r"[a-z_]+(/[a-z_]+)?"

RANDOM_KEY = 'Create one with: python -c "import secrets; print(secrets.token_urlsafe(50))"'
FERNET_KEY = (
    'Create one with: python -c "from cryptography.fernet import Fernet; '
    'print(Fernet.generate_key().decode())"'
)


@register(Tags.security)
def check_keys(**kwargs: Any) -> Iterator[CheckMessage]:
    """E001: SECRET_KEY; E011: a METRICS_TOKEN that could be guessed."""
    is_set = not settings.SECRET_KEY.startswith(SECRET_KEY_INSECURE_PREFIX)
    yield from _key("E001", "SECRET_KEY", settings.SECRET_KEY if is_set else "")
    if settings.METRICS_TOKEN:
        yield from _key("E011", "METRICS_TOKEN", settings.METRICS_TOKEN)


@register(Tags.security)
def check_formats(**kwargs: Any) -> Iterator[CheckMessage]:
    """E006, E007, E013 and E017: a malformed setting, or an entry of a list."""
    hint = (
        "Separate names by commas, without scheme, port, path or quotation marks: "
        "connections.example.com, or .example.com for all of its subdomains."
    )
    yield from _malformed("E013", "ALLOWED_HOSTS", settings.ALLOWED_HOSTS, ALLOWED_HOST, hint)
    hint = "Name every origin as browsers send it, without a path: https://app.example.com"
    origins = settings.CORS_ALLOWED_ORIGINS
    yield from _malformed("E017", "CORS_ALLOWED_ORIGINS", origins, ORIGIN, hint)
    hint = "Set it to one code, or several separated by commas. Without a portal, do not set it."
    codes = settings.PORTAL_ACCESS_CODE.split(",") if settings.PORTAL_ACCESS_CODE else []
    yield from _malformed("E006", "PORTAL_ACCESS_CODE", codes, r".*\S.*", hint)
    hint = "Use a number and a period, such as 10/min. Periods are sec, min, hour and day."
    for scope, rate in rest_settings.DEFAULT_THROTTLE_RATES.items():
        yield from _malformed("E007", f"THROTTLE_{scope.upper()}", [str(rate or "1/s")], RATE, hint)


@register(Tags.security)
def check_stripe(**kwargs: Any) -> Iterator[CheckMessage]:
    """E008, E012 and E016: a malformed setting about Stripe; W004: one without effect."""
    # With an empty prefix, any text would be a key.
    hint = "Prefixes are letters or digits and an underscore, separated by commas: sk_,rk_"
    prefixes = settings.STRIPE_API_KEY_PREFIXES or [""]
    yield from _malformed("E008", "STRIPE_API_KEY_PREFIXES", prefixes, "[A-Za-z0-9]+_", hint)
    hint = "Keys are sent to it: set it to the https address of a host, or do not set it."
    base = ANY_BASE if settings.DEBUG else SAFE_BASE
    yield from _malformed("E012", "STRIPE_API_BASE", [settings.STRIPE_API_BASE], base, hint)
    hint = "Entries are lists of Stripe's API, separated by commas: customers,prices"
    names = settings.STRIPE_REQUIRED_PERMISSIONS
    yield from _malformed("E016", "STRIPE_REQUIRED_PERMISSIONS", names, PERMISSION, hint)
    if settings.STRIPE_VERIFY_REQUIRED and not settings.STRIPE_VERIFY:
        text = "STRIPE_VERIFY_REQUIRED has no effect, because STRIPE_VERIFY is off."
        yield _message("W004", text, "Turn STRIPE_VERIFY on or STRIPE_VERIFY_REQUIRED off.")


@register()
def check_variables(**kwargs: Any) -> Iterator[CheckMessage]:
    """W005: an unknown variable that looks like a setting."""
    for name in settings.UNKNOWN_VARIABLES:
        text = f"{name} is not a setting of this service and has no effect."
        yield _message("W005", text, "docs/settings.md lists all settings.")


@register(Tags.database)
def check_demo_people(
    databases: Collection[str] | None = None, **kwargs: Any
) -> Iterator[CheckMessage]:
    """E014: demo users who can log in without DEMO_PEOPLE."""
    if settings.DEMO_PEOPLE or DEFAULT_DB_ALIAS not in (databases or ()):
        return
    # Nothing is reported if the database is unreachable or has no tables.
    with suppress(DatabaseError):
        for user in User.objects.filter(username__in=load_demo.PEOPLE, is_active=True):
            text = f"The demo user {user} can log in with a password that load_demo prints."
            hint = "Deactivate the user in the admin. To show demo data, set DEMO_PEOPLE=true."
            yield _message("E014", text, hint)


@register(Tags.security)
def check_fernet_keys(**kwargs: Any) -> Iterator[CheckMessage]:
    """E002: FERNET_KEYS; E003: a key with another purpose; E015: a duplicate key."""
    keys = settings.FERNET_KEYS
    positions: dict[bytes, int] = {}
    if not keys:
        yield _message("E002", "FERNET_KEYS is not set.", FERNET_KEY)
    for position, key in enumerate(keys, start=1):
        name = f"Key {position} of FERNET_KEYS"
        try:
            first = positions.setdefault(key_bytes(key), position)
        except ValueError:
            yield _message("E002", f"{name} is not a Fernet key.", FERNET_KEY)
            continue
        if first != position:
            hint = "Remove one of them. The base64 alphabets with +/ and -_ are equivalent."
            yield _message("E015", f"{name} is the same as key {first}.", hint)
        yield from _key("E002", name, key, FERNET_KEY)
    others = {"SECRET_KEY": settings.SECRET_KEY, "JWT_SIGNING_KEY": jwt_settings.SIGNING_KEY}
    for name, value in others.items():
        if value.translate(URL_SAFE) in {key.translate(URL_SAFE) for key in keys}:
            text = f"FERNET_KEYS contains the value of {name}."
            hint = f"The key that signs must not decrypt: change {name}, or add a new Fernet key."
            yield _message("E003", text, f"{hint} {FERNET_KEY}")


@register(Tags.security)
def check_tokens(**kwargs: Any) -> Iterator[CheckMessage]:
    """E004: the key that signs or verifies tokens; E005: the algorithm."""
    issues = issues_tokens()
    algorithms = SIGNING_ALGORITHMS if issues else VERIFYING_ALGORITHMS
    if jwt_settings.ALGORITHM not in algorithms:
        text = f"JWT_ALGORITHM must be one of {', '.join(algorithms)}."
        hint = (
            "With JWT_VERIFYING_KEY or JWT_JWK_URL, an identity provider issues the tokens. "
            "Otherwise, this service signs them with JWT_SIGNING_KEY."
        )
        yield _message("E005", text, hint)
    elif issues:
        yield from _key("E004", "JWT_SIGNING_KEY", jwt_settings.SIGNING_KEY)
    else:
        yield from _check_identity_provider()


@register(Tags.security)
def check_user_id_field(**kwargs: Any) -> Iterator[CheckMessage]:
    """E009: a JWT_USER_ID_FIELD that does not identify one user."""
    unique = [field.name for field in User._meta.fields if field.unique]
    if jwt_settings.USER_ID_FIELD not in unique:
        text = f"JWT_USER_ID_FIELD must be one of {', '.join(unique)}."
        yield _message("E009", text, "A token must identify exactly one user.")


def _check_identity_provider() -> Iterator[CheckMessage]:
    if url := jwt_settings.JWK_URL:
        hint = "Set it to the HTTPS address of the identity provider's key set."
        yield from _malformed("E004", "JWT_JWK_URL", [url], r"https?://[^/].*", hint)
    else:
        try:
            load_pem_public_key(jwt_settings.VERIFYING_KEY.encode())
        except ValueError:
            text = "JWT_VERIFYING_KEY is not a public key in PEM format."
            hint = "Set it to the identity provider's public key, from -----BEGIN to -----END."
            yield _message("E004", text, hint)
    if not (jwt_settings.AUDIENCE and jwt_settings.ISSUER):
        hint = "A token that the identity provider issued for another service is accepted here."
        yield _message("W002", "JWT_AUDIENCE or JWT_ISSUER is not set.", hint)


@register(Tags.security, deploy=True)
def check_portal_is_on(**kwargs: Any) -> Iterator[CheckMessage]:
    """W001: no PORTAL_ACCESS_CODE."""
    if not settings.PORTAL_ACCESS_CODE:
        text = "PORTAL_ACCESS_CODE is not set: requests that bypass the portal are accepted."
        yield _message("W001", text, RANDOM_KEY)


@register(Tags.database)
def check_stored_secrets(
    databases: Collection[str] | None = None, **kwargs: Any
) -> Iterator[CheckMessage]:
    """E010, W003: secrets that no key can decrypt; I001: secrets under a retired key.

    A sample is enough to notice the wrong keys when the service starts. Nothing is reported if the
    database is unreachable, or before migration 0008 has bound the secrets to their rows.
    """
    if DEFAULT_DB_ALIAS not in (databases or ()) or not settings.FERNET_KEYS:
        return
    applied = MigrationRecorder(database).migration_qs.filter(app="stripe_connections")
    try:
        if not applied.filter(name="0008_bind_secrets").exists():
            return
        census = sample(SAMPLE_SIZE)
    except (DatabaseError, ValueError):
        return
    figures = f"({census.figures}, of a sample)"
    broken = sum(census.secrets[kind] for kind in BROKEN)
    if broken:
        # A single damaged row must not prevent the start.
        is_all = broken + census.secrets["empty"] == census.secrets.total()
        number, words = ("E010", "any") if is_all else ("W003", "all")
        text = f"FERNET_KEYS cannot decrypt {words} of the stored secrets {figures}."
        hint = "Check that these keys encrypted them. census_secrets counts all secrets."
        yield _message(number, text, hint)
    if census.retired_in_use:
        text = f"A retired key is still needed {figures}."
        hint = "rotate_secrets --apply encrypts every secret under the first key."
        yield _message("I001", text, hint)


def _key(number: str, name: str, key: str, hint: str = RANDOM_KEY) -> Iterator[CheckMessage]:
    """A key that is missing or easy to guess."""
    if not key:
        yield _message(number, f"{name} is not set.", hint)
    elif len(key) < MIN_KEY_LENGTH or len(set(key)) < MIN_DIFFERENT_CHARACTERS:
        yield _message(number, f"{name} is weak.", hint, WARNING if settings.DEBUG else ERROR)


def _malformed(
    number: str, name: str, entries: Collection[str], pattern: str, hint: str
) -> Iterator[CheckMessage]:
    """The entries of a setting that do not match; their text could contain a secret."""
    for position, entry in enumerate(entries, start=1):
        if not re.fullmatch(pattern, entry):
            place = f", entry {position}," if len(entries) > 1 else ""
            yield _message(number, f"{name}{place} is malformed.", hint)


def _message(number: str, text: str, hint: str, level: int | None = None) -> CheckMessage:
    level = level or LEVELS[number[0]]
    return CheckMessage(level, text, hint=hint, id=f"stripe_connections.{number}")
