"""What is wrong with the settings, said before the service answers anybody.

A weak secret is an error without DEBUG and a warning with it; a missing or malformed one is an
error always.
"""

import re
from collections.abc import Callable, Collection
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register  # noqa: A004
from django.core.checks.security.base import SECRET_KEY_INSECURE_PREFIX
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from rest_framework.settings import api_settings as rest_settings
from rest_framework_simplejwt.settings import api_settings as jwt_settings

from stripe_connections.bulk.census import BROKEN, sample
from stripe_connections.encryption.keyring import Keyring
from workspaces.tokens import issues_tokens

# RFC 7518, section 3.2: a key of HS256 has at least 256 bits.
MIN_KEY_LENGTH = 32
MIN_DIFFERENT_CHARACTERS = 10
# Connections whose secrets are looked at when the service starts: some milliseconds.
SAMPLE_SIZE = 100
SIGNING_ALGORITHMS = ("HS256", "HS384", "HS512")
VERIFYING_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")

_rate = re.compile(r"[1-9][0-9]*/(s|sec|second|m|min|minute|h|hour|d|day)").fullmatch

RANDOM_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(50))"'
FERNET_KEY = (
    'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)


@register(Tags.security)
def check_secret_key(**kwargs: Any) -> list[CheckMessage]:
    """E001: SECRET_KEY."""
    hint = f"Make one with: {RANDOM_KEY}"
    if settings.SECRET_KEY.startswith(SECRET_KEY_INSECURE_PREFIX):
        return [Error("SECRET_KEY is not set.", hint=hint, id="stripe_connections.E001")]
    if _is_weak(settings.SECRET_KEY):
        return [_weak("SECRET_KEY is weak.", hint=hint, id="stripe_connections.E001")]
    return []


@register(Tags.security)
def check_fernet_keys(**kwargs: Any) -> list[CheckMessage]:
    """E002: FERNET_KEYS; E003: the same key used for something else."""
    keys = settings.FERNET_KEYS
    hint = f"Make one with: {FERNET_KEY}"
    if not keys:
        return [Error("FERNET_KEYS is not set.", hint=hint, id="stripe_connections.E002")]
    found: list[CheckMessage] = []
    for position, key in enumerate(keys, start=1):
        try:
            Keyring.of((key,))
        except ValueError:
            message = f"Key {position} of FERNET_KEYS is no Fernet key."
            found.append(Error(message, hint=hint, id="stripe_connections.E002"))
        else:
            if _is_weak(key):
                message = f"Key {position} of FERNET_KEYS is weak."
                found.append(_weak(message, hint=hint, id="stripe_connections.E002"))
    for name, value in (
        ("SECRET_KEY", settings.SECRET_KEY),
        ("JWT_SIGNING_KEY", jwt_settings.SIGNING_KEY),
    ):
        if value in keys:
            found.append(
                Error(
                    f"FERNET_KEYS holds the value of {name}.",
                    hint="Who may sign must not be able to decrypt. Put a new key in front of "
                    f"FERNET_KEYS, or change {name}. {hint}",
                    id="stripe_connections.E003",
                )
            )
    return found


@register(Tags.security)
def check_tokens(**kwargs: Any) -> list[CheckMessage]:
    """E004: the key that signs or verifies tokens; E005: the algorithm."""
    issues = issues_tokens()
    algorithms = SIGNING_ALGORITHMS if issues else VERIFYING_ALGORITHMS
    if jwt_settings.ALGORITHM not in algorithms:
        return [
            Error(
                f"JWT_ALGORITHM must be one of {', '.join(algorithms)}.",
                hint="With JWT_VERIFYING_KEY or JWT_JWK_URL an identity provider issues the "
                "tokens; without, this service signs them with JWT_SIGNING_KEY.",
                id="stripe_connections.E005",
            )
        ]
    if not issues:
        return _check_verifying_key()
    hint = f"Make one with: {RANDOM_KEY}"
    if not jwt_settings.SIGNING_KEY:
        return [Error("JWT_SIGNING_KEY is not set.", hint=hint, id="stripe_connections.E004")]
    if _is_weak(jwt_settings.SIGNING_KEY):
        return [_weak("JWT_SIGNING_KEY is weak.", hint=hint, id="stripe_connections.E004")]
    return []


def _check_verifying_key() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if jwt_settings.JWK_URL:
        if not re.match(r"https?://[^/]", jwt_settings.JWK_URL):
            hint = "Give the https address of the identity provider's key set."
            message = "JWT_JWK_URL is no http address."
            found.append(Error(message, hint=hint, id="stripe_connections.E004"))
    else:
        try:
            load_pem_public_key(jwt_settings.VERIFYING_KEY.encode())
        except ValueError:
            hint = "Give the identity provider's public key, from -----BEGIN to -----END."
            message = "JWT_VERIFYING_KEY is no public key in PEM."
            found.append(Error(message, hint=hint, id="stripe_connections.E004"))
    if not (jwt_settings.AUDIENCE and jwt_settings.ISSUER):
        found.append(
            Warning(
                "JWT_AUDIENCE or JWT_ISSUER is not set.",
                hint="A token that the identity provider issued for another service passes here.",
                id="stripe_connections.W002",
            )
        )
    return found


@register(Tags.security)
def check_portal_access_code(**kwargs: Any) -> list[CheckMessage]:
    """E006: a PORTAL_ACCESS_CODE that admits nobody."""
    code = settings.PORTAL_ACCESS_CODE
    if code and not all(part.strip() for part in code.split(",")):
        return [
            Error(
                "PORTAL_ACCESS_CODE has an empty entry.",
                hint="Give one code, or several with commas between; leave it unset for none.",
                id="stripe_connections.E006",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_portal_is_on(**kwargs: Any) -> list[CheckMessage]:
    """W001: no portal code."""
    if settings.PORTAL_ACCESS_CODE:
        return []
    return [
        Warning(
            "PORTAL_ACCESS_CODE is not set: requests are served that passed by the portal.",
            hint=f"Make one with: {RANDOM_KEY}",
            id="stripe_connections.W001",
        )
    ]


@register()
def check_throttle_rates(**kwargs: Any) -> list[CheckMessage]:
    """E007: a rate that is none."""
    return [
        Error(
            f"THROTTLE_{scope.upper()} is no rate.",
            hint="Write a number and a period, such as 10/min; periods are sec, min, hour, day.",
            id="stripe_connections.E007",
        )
        for scope, rate in rest_settings.DEFAULT_THROTTLE_RATES.items()
        if rate and not _rate(str(rate))
    ]


@register(Tags.security)
def check_api_key_prefixes(**kwargs: Any) -> list[CheckMessage]:
    """E008: an empty prefix, with which anything would be a key."""
    prefixes = settings.STRIPE_API_KEY_PREFIXES
    if prefixes and all(re.fullmatch(r"[A-Za-z0-9]+_", prefix) for prefix in prefixes):
        return []
    return [
        Error(
            "STRIPE_API_KEY_PREFIXES holds something that is no prefix.",
            hint="Letters or digits and an underscore, with commas between: sk_,rk_",
            id="stripe_connections.E008",
        )
    ]


@register(Tags.security)
def check_user_id_field(**kwargs: Any) -> list[CheckMessage]:
    """E009: a JWT_USER_ID_FIELD that could name two users at once, or none."""
    unique = [field.name for field in User._meta.fields if field.unique]
    if jwt_settings.USER_ID_FIELD in unique:
        return []
    return [
        Error(
            f"JWT_USER_ID_FIELD must be one of {', '.join(unique)}.",
            hint="A token must name one user and no other.",
            id="stripe_connections.E009",
        )
    ]


@register(Tags.database)
def check_stored_secrets(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E010, W003: stored secrets that no key reads; I001: some under a retired key.

    A sample, so that a service with the wrong keys says so when it starts and not at the first
    payment. While the database is away or has no tables, nothing is said.
    """
    if DEFAULT_DB_ALIAS not in (databases or ()) or not settings.FERNET_KEYS:
        return []
    try:
        census = sample(SAMPLE_SIZE)
    except (DatabaseError, ValueError):
        return []
    broken = sum(census.secrets[kind] for kind in BROKEN)
    found: list[CheckMessage] = []
    if broken:
        # One damaged row must not keep the service from starting.
        is_all = broken + census.secrets["empty"] == census.secrets.total()
        kind, number = (Error, "E010") if is_all else (Warning, "W003")
        found.append(
            kind(
                f"FERNET_KEYS cannot read {'any' if is_all else 'all'} of the stored secrets "
                f"({census.figures}, of a sample).",
                hint="Are these the keys that encrypted them? census_secrets counts all of them.",
                id=f"stripe_connections.{number}",
            )
        )
    if census.retired_in_use:
        found.append(
            Info(
                f"A retired key is still needed ({census.figures}, of a sample).",
                hint="rotate_secrets --apply brings every secret under the first key.",
                id="stripe_connections.I001",
            )
        )
    return found


def _is_weak(key: str) -> bool:
    return len(key) < MIN_KEY_LENGTH or len(set(key)) < MIN_DIFFERENT_CHARACTERS


def _weak(message: str, **kwargs: str) -> CheckMessage:
    kind: Callable[..., CheckMessage] = Warning if settings.DEBUG else Error
    return kind(message, **kwargs)
