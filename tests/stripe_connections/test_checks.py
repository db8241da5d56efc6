"""Each wrong setting has a numbered check, and errors stop the start."""

import os
import re
import secrets
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.checks.registry import registry
from django.test import override_settings
from rest_framework_simplejwt.settings import api_settings

from tests.production import PRODUCTION

ROOT = Path(__file__).resolve().parents[2]
LONG = "0123456789abcdefghijklmnopqrstuvwxyz"
# The same 32 bytes in both base64 alphabets.
FERNET_KEY = urlsafe_b64encode(b"\xfb\xff" + secrets.token_bytes(30)).decode()
OTHER_SPELLING = FERNET_KEY.translate(str.maketrans("-_", "+/"))
PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
# A well-formed Fernet key that is easy to guess.
WEAK_FERNET_KEY = "A" * 43 + "="
PROVIDER = {
    "SIGNING_KEY": "",
    "ALGORITHM": "ES256",
    "VERIFYING_KEY": PEM,
    "AUDIENCE": "us",
    "ISSUER": "https://identity.example.com",
}
ENDPOINT = PROVIDER | {"VERIFYING_KEY": "", "JWK_URL": "https://identity.example.com/keys"}


def our_checks() -> list[Any]:
    """Return the checks of this service, because Django's take a tenth of a second."""
    checks = registry.get_checks(include_deployment_checks=True)
    return [check for check in checks if check.__module__ == "stripe_connections.checks"]


@pytest.fixture
def found(monkeypatch: Any) -> Any:
    """Return a function that changes settings and returns the IDs of the failed checks."""

    def run(jwt: dict[str, Any], changes: dict[str, Any]) -> list[str]:
        good = {"DEBUG": False, "SECRET_KEY": LONG, "PORTAL_ACCESS_CODE": "code"}
        with monkeypatch.context() as patch, override_settings(**good | changes):
            for name, value in jwt.items():
                patch.setattr(api_settings, name, value)
            messages = [message for check in our_checks() for message in check(app_configs=None)]
        return sorted({message.id.removeprefix("stripe_connections.") for message in messages})

    return run


def rate(value: str | None) -> dict[str, Any]:
    return {"REST_FRAMEWORK": {"DEFAULT_THROTTLE_RATES": {"token": value}}}


CHANGES = [
    ({}, []),
    ({"SECRET_KEY": "django-insecure-" + LONG}, ["E001"]),
    ({"SECRET_KEY": LONG[:31]}, ["E001"]),
    ({"SECRET_KEY": LONG[:32]}, []),
    ({"SECRET_KEY": "123456789" * 10}, ["E001"]),
    ({"ALLOWED_HOSTS": ["connections.example.com", "10.0.0.1", "[::1]", "*"]}, []),
    ({"ALLOWED_HOSTS": [".example.com", "Bank-1.example.com"]}, []),
    *(
        ({"ALLOWED_HOSTS": [host]}, ["E013"])
        for host in (
            "https://example.com",
            "example.com:443",
            "example.com/",
            '"example.com"',
            "'example.com'",
            "['example.com']",
            "example.com other.example.com",
            "example.com;other.example.com",
            "*.example.com",
            "example..com",
            "example.com.",
            "bücher.example",
            "::1",
            "[::1]:80",
        )
    ),
    (
        {
            "CORS_ALLOWED_ORIGINS": [
                "https://app.example.com",
                "https://app-1.example.com:8443",
                "http://localhost:3000",
                "http://127.0.0.1",
                "https://[2001:db8::1]",
            ]
        },
        [],
    ),
    *(
        ({"CORS_ALLOWED_ORIGINS": ["https://app.example.com", origin]}, ["E017"])
        for origin in (
            "*",
            "null",
            "app.example.com",
            "http://app.example.com",
            "https://*.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://app.example.com:443",
            "http://localhost:80",
            "https://App.example.com",
            "https://user@app.example.com",
            "https://a.example.com https://b.example.com",
            "file://",
        )
    ),
    ({"FERNET_KEYS": []}, ["E002"]),
    ({"FERNET_KEYS": ["x"]}, ["E002"]),
    ({"FERNET_KEYS": [FERNET_KEY, "x"]}, ["E002"]),
    ({"FERNET_KEYS": [FERNET_KEY + "x"]}, ["E002"]),
    ({"FERNET_KEYS": [FERNET_KEY + " " + FERNET_KEY]}, ["E002"]),
    ({"FERNET_KEYS": [FERNET_KEY + "\n" + FERNET_KEY]}, ["E002"]),
    ({"FERNET_KEYS": [FERNET_KEY[:-5]]}, ["E002"]),
    ({"FERNET_KEYS": ["é" * 44]}, ["E002"]),
    ({"FERNET_KEYS": [FERNET_KEY, WEAK_FERNET_KEY]}, ["E002"]),
    ({"FERNET_KEYS": [FERNET_KEY]}, []),
    ({"FERNET_KEYS": [FERNET_KEY, OTHER_SPELLING]}, ["E015"]),
    ({"FERNET_KEYS": [FERNET_KEY, Fernet.generate_key().decode(), FERNET_KEY]}, ["E015"]),
    ({"FERNET_KEYS": [FERNET_KEY], "SECRET_KEY": OTHER_SPELLING}, ["E003"]),
    ({"FERNET_KEYS": [FERNET_KEY], "SECRET_KEY": FERNET_KEY}, ["E003"]),
    ({"PORTAL_ACCESS_CODE": ","}, ["E006"]),
    ({"PORTAL_ACCESS_CODE": "one,"}, ["E006"]),
    ({"PORTAL_ACCESS_CODE": "one, two"}, []),
    ({"PORTAL_ACCESS_CODE": ""}, ["W001"]),
    (rate("10"), ["E007"]),
    (rate("0/min"), ["E007"]),
    (rate("-1/min"), ["E007"]),
    (rate("ten/min"), ["E007"]),
    (rate("10/fortnight"), ["E007"]),
    (rate("1" * 13 + "/min"), ["E007"]),
    (rate("10/min"), []),
    (rate("1000/day"), []),
    (rate(None), []),
    ({"METRICS_TOKEN": "short"}, ["E011"]),
    ({"METRICS_TOKEN": "x" * 40}, ["E011"]),
    ({"METRICS_TOKEN": LONG}, []),
    ({"METRICS_TOKEN": ""}, []),
    ({"STRIPE_API_KEY_PREFIXES": []}, ["E008"]),
    ({"STRIPE_API_KEY_PREFIXES": [""]}, ["E008"]),
    ({"STRIPE_API_KEY_PREFIXES": ["sk_", ""]}, ["E008"]),
    ({"STRIPE_API_KEY_PREFIXES": ["sk"]}, ["E008"]),
    ({"STRIPE_API_KEY_PREFIXES": ["sk_", "xk_"]}, []),
    ({"STRIPE_API_BASE": "https://stripe-proxy.example.com:8443/"}, []),
    ({"STRIPE_API_BASE": "http://127.0.0.1:9200"}, []),
    ({"STRIPE_API_BASE": "http://[::1]:9200"}, []),
    ({"STRIPE_API_BASE": "http://localhost"}, []),
    ({"STRIPE_API_BASE": "http://stripe.example.com", "DEBUG": True}, []),
    ({"STRIPE_API_BASE": "http://stripe.example.com"}, ["E012"]),
    ({"STRIPE_API_BASE": "http://localhost.example.com"}, ["E012"]),
    ({"STRIPE_API_BASE": "http://127.0.0.1:9200@example.com"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://user@example.com"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://example.com/v1"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://example.com?x"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://[::1"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://example.com:port"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://example.com\\"}, ["E012"]),
    ({"STRIPE_API_BASE": "https://[2001:db8::1]:8443"}, []),
    ({"STRIPE_API_BASE": "api.stripe.com"}, ["E012"]),
    ({"STRIPE_API_BASE": "ftp://localhost", "DEBUG": True}, ["E012"]),
    ({"STRIPE_VERIFY": True, "STRIPE_VERIFY_REQUIRED": True}, []),
    ({"STRIPE_VERIFY_REQUIRED": True}, ["W004"]),
    ({"STRIPE_REQUIRED_PERMISSIONS": ["customers", "checkout/sessions"]}, []),
    ({"STRIPE_REQUIRED_PERMISSIONS": ["Prices Read"]}, ["E016"]),
    ({"STRIPE_REQUIRED_PERMISSIONS": ["customers?limit=1"]}, ["E016"]),
    ({"STRIPE_REQUIRED_PERMISSIONS": ["../accounts"]}, ["E016"]),
    ({"UNKNOWN_VARIABLES": ["STRIPE_VERFY"]}, ["W005"]),
]
JWT_CHANGES = [
    ({"SIGNING_KEY": ""}, ["E004"]),
    ({"SIGNING_KEY": LONG[:31]}, ["E004"]),
    ({"SIGNING_KEY": "x" * 100}, ["E004"]),
    ({"SIGNING_KEY": LONG[:32]}, []),
    ({"ALGORITHM": "HS512"}, []),
    ({"ALGORITHM": "none"}, ["E005"]),
    ({"ALGORITHM": "hs256"}, ["E005"]),
    ({"ALGORITHM": "RS256"}, ["E005"]),
    (PROVIDER, []),
    (PROVIDER | {"ALGORITHM": "HS256"}, ["E005"]),
    (PROVIDER | {"VERIFYING_KEY": "-----BEGIN PUBLIC KEY-----"}, ["E004"]),
    (PROVIDER | {"VERIFYING_KEY": "é"}, ["E004"]),
    (PROVIDER | {"AUDIENCE": None}, ["W002"]),
    (PROVIDER | {"ISSUER": None}, ["W002"]),
    (PROVIDER | {"USER_ID_CLAIM": "sub", "USER_ID_FIELD": "username"}, []),
    (PROVIDER | {"USER_ID_FIELD": "email"}, ["E009"]),
    (PROVIDER | {"USER_ID_FIELD": "nothing"}, ["E009"]),
    (ENDPOINT, []),
    (ENDPOINT | {"JWK_URL": "identity.example.com"}, ["E004"]),
    (ENDPOINT | {"JWK_URL": "file:///etc/passwd"}, ["E004"]),
]


def test_setting_is_checked(found):
    assert [(changes, found({}, changes)) for changes, _ in CHANGES] == CHANGES


def test_token_setting_is_checked(found):
    assert [(changes, found(changes, {})) for changes, _ in JWT_CHANGES] == JWT_CHANGES


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("is_active", "are_wanted", "ids"),
    [(True, False, ["E014"]), (True, True, []), (False, False, [])],
    ids=["can log in", "are allowed", "deactivated"],
)
def test_demo_people_in_production_are_an_error(make_user, settings, is_active, are_wanted, ids):
    make_user("demo-viewer")
    User.objects.update(is_active=is_active)
    make_user("somebody")
    settings.DEMO_PEOPLE = are_wanted

    found = run_checks(databases=["default"])

    assert [m.id for m in found if m.id.endswith("E014")] == [
        f"stripe_connections.{number}" for number in ids
    ]


def test_unknown_variables_are_found():
    unknown = {"STRIPE_VERFY", "JWT_SIGNING_KEY_FILES"}
    others = {
        "JWT_ISSUER_FILE",
        "STRIPE_CONNECTIONS_SERVICE_HOST",
        "STRIPE_CONNECTIONS_PORT_8000_TCP",
        "EDITOR",
    }

    code = "from config.settings import UNKNOWN_VARIABLES; print(*UNKNOWN_VARIABLES)"
    ended = start("-c", code, **dict.fromkeys(unknown | others, os.devnull))

    assert (ended.returncode, {*ended.stdout.split()}) == (0, unknown)


def test_malformed_rate_stops_the_start():
    names = [f"THROTTLE_{kind}" for kind in ("STRIPE", "TOKEN", "USER", "WORKSPACE")]

    ended = start(*SERVER, **dict.fromkeys(names, "600 per minute"))

    refused = re.findall(r"\(stripe_connections\.E007\) (\w+) is malformed\.", ended.stderr)
    assert (ended.returncode, sorted(refused)) == (1, names)
    assert "Traceback" not in ended.stderr


def test_signing_key_must_not_be_a_fernet_key(found):
    assert found({"SIGNING_KEY": FERNET_KEY}, {"FERNET_KEYS": [LONG, FERNET_KEY]}) == [
        "E002",
        "E003",
    ]


def test_duplicate_key_is_named_by_its_number():
    with override_settings(FERNET_KEYS=[FERNET_KEY, OTHER_SPELLING]):
        messages = [str(m) for check in our_checks() for m in check(app_configs=None)]

    [text] = [message for message in messages if "E015" in message]
    assert "Key 2 of FERNET_KEYS is the same as key 1" in text
    assert FERNET_KEY not in text


@pytest.mark.parametrize("changes", [{"SECRET_KEY": "weak"}, {"FERNET_KEYS": [WEAK_FERNET_KEY]}])
def test_weak_key_is_only_a_warning_under_debug(changes):
    with override_settings(DEBUG=True, **changes):
        messages = [m for m in run_checks() if m.id.startswith("stripe_connections.")]

    assert [message.is_serious() for message in messages] == [False]


def test_no_check_shows_a_key(monkeypatch):
    bad = "not-a-key-at-all-" + LONG
    monkeypatch.setattr(api_settings, "SIGNING_KEY", bad)
    with override_settings(DEBUG=False, SECRET_KEY=bad, FERNET_KEYS=[bad], PORTAL_ACCESS_CODE=""):
        messages = run_checks(include_deployment_checks=True)

    assert [m.id for m in messages if m.id.startswith("stripe_connections.E")] == [
        "stripe_connections.E002",
        "stripe_connections.E003",
        "stripe_connections.E003",
    ]
    assert [message for message in messages if bad in repr(message) + str(message)] == []


# ── In a process ──────────────────────────────────────────────────────────────────────────────
def start(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run Python with the production environment and `changes`; None unsets a variable."""
    environment = {"PATH": os.environ["PATH"]} | PRODUCTION | {"DATABASE_URL": "sqlite://:memory:"}
    given = {name: value for name, value in (environment | changes).items() if value is not None}
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        env=given,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


CHECK = ("manage.py", "check")
SERVER = ("-c", "import config.wsgi")


@pytest.mark.parametrize(("switch", "is_loaded"), [("false", False), ("true", True)])
def test_server_loads_stripes_library_at_its_start_if_verification_is_on(switch, is_loaded):
    code = "import sys, config.wsgi; print('stripe' in sys.modules)"

    assert start("-c", code, STRIPE_VERIFY=switch).stdout == f"{is_loaded}\n"


@pytest.mark.parametrize("key", [PEM, PEM.replace("\n", r"\n")], ids=["lines", "one line"])
def test_public_key_may_have_several_lines_or_one(key):
    code = "from config.settings import SIMPLE_JWT; print(SIMPLE_JWT['VERIFYING_KEY'], end='')"
    ended = start("-c", code, JWT_ALGORITHM="ES256", JWT_VERIFYING_KEY=key, JWT_SIGNING_KEY=None)

    assert ended.stdout.strip() == PEM.strip()


def test_missing_secrets_stop_the_start():
    makers = {
        ("E001", "SECRET_KEY"): "secrets.token_urlsafe(50)",
        ("E002", "FERNET_KEYS"): "Fernet.generate_key()",
        ("E004", "JWT_SIGNING_KEY"): "secrets.token_urlsafe(50)",
    }

    # One is empty instead of missing. If all are missing, the message is a different one.
    ended = start(*CHECK, SECRET_KEY="", FERNET_KEYS=None, JWT_SIGNING_KEY=None)

    assert ended.returncode == 1
    missing = re.findall(r"\(stripe_connections\.(\w+)\) (\w+) is not set", ended.stderr)
    assert set(missing) == set(makers)
    assert [maker for maker in makers.values() if maker not in ended.stderr] == []


def one_line(ended: subprocess.CompletedProcess[str]) -> str:
    """Check that a process failed with one line of output, and return the line."""
    assert ended.returncode == 1
    assert ended.stdout == ""
    line, rest = ended.stderr.split("\n", 1)
    assert rest == ""
    return line


@pytest.mark.parametrize("command", [("manage.py", "migrate"), SERVER], ids=["migrate", "server"])
def test_without_any_key_one_line_says_how_to_create_them(command, tmp_path):
    missing = dict.fromkeys(("SECRET_KEY", "FERNET_KEYS", "JWT_SIGNING_KEY"))

    ended = start(*command, **missing, ENV_FILE=str(tmp_path / ".env"))

    assert "make .env" in one_line(ended)


BAD_VALUES = [
    ("DATABASE_URL", "postgres://user:hunter2@host:port/name"),
    ("NUM_PROXIES", "-1"),
    ("LOG_LEVEL", "loud"),
    ("SECRET_KEY_FILE", "/dev/null/nothing"),
    ("ENV_FILE", "/dev/null/nothing"),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_invalid_value_is_reported_in_one_line(name, value):
    line = one_line(start("manage.py", "check", **{name: value}))

    assert line.startswith("Error: ")
    assert name in line or value in line
    assert "hunter2" not in line


def test_unreachable_database_is_reported_in_one_line(tmp_path):
    ended = start("manage.py", "migrate", DATABASE_URL=f"sqlite:///{tmp_path}")

    assert "unable to open database file" in one_line(ended)


def test_database_without_migrations_is_reported_in_one_line(tmp_path):
    ended = start(
        "manage.py", "load_demo", DEMO_PEOPLE="true", DATABASE_URL=f"sqlite:///{tmp_path}/db"
    )

    assert "manage.py migrate" in one_line(ended)
