"""Every invalid token gets the same documented 401."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.settings import api_settings

from tests.conftest import ApiClient
from workspaces.models import Membership, Role, Workspace
from workspaces.tokens import RefreshToken

NAME_CHANGE = {"connectionBizId": "sc_abc123", "connectionName": "Changed"}
REFUSAL = (
    b'{"version":"1.3.0","timestamp":0,"success":false,"code":"4010",'
    b'"message":"Invalid or expired token"}'
)
DEPTH = 100_000

Authorization = Callable[[User], str | None]


def claims_of(user: User) -> dict[str, Any]:
    return dict(RefreshToken.for_user(user).access_token.payload)


def signed(claims: dict[str, Any]) -> str:
    return signed_by_hand('{"alg":"HS256","typ":"JWT"}', json.dumps(claims))


def signed_by_hand(header: str, payload: str) -> str:
    """Sign any text as header and payload, because PyJWT refuses invalid ones."""
    parts = [base64.urlsafe_b64encode(text.encode()).rstrip(b"=") for text in (header, payload)]
    digest = hmac.digest(api_settings.SIGNING_KEY.encode(), b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(digest).rstrip(b"=")]).decode()


def good(user: User) -> str:
    return f"Bearer {signed(claims_of(user))}"


def changed(**claims: Any) -> Authorization:
    return lambda user: f"Bearer {signed(claims_of(user) | claims)}"


def without(claim: str) -> Authorization:
    def make(user: User) -> str:
        claims = claims_of(user)
        del claims[claim]
        return f"Bearer {signed(claims)}"

    return make


def signed_with_public_key(user: User) -> str:
    """Algorithm confusion: a public key as the secret of an HMAC."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header, payload, _ = signed(claims_of(user)).split(".")
    digest = hmac.digest(pem, f"{header}.{payload}".encode(), hashlib.sha256)
    return f"Bearer {header}.{payload}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def signed_with_hs512(user: User) -> str:
    return f"Bearer {jwt.encode(claims_of(user), api_settings.SIGNING_KEY, 'HS512')}"


def signed_with_rsa(user: User) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return f"Bearer {jwt.encode(claims_of(user), key, 'RS256')}"


def unsigned(user: User) -> str:
    return f"Bearer {jwt.encode(claims_of(user), None, 'none')}"


def other_signature(user: User) -> str:
    return f"Bearer {jwt.encode(claims_of(user), 'x' * 64, 'HS256')}"


def cut_signature(user: User) -> str:
    return good(user).rpartition(".")[0] + "."


def other_payload(user: User) -> str:
    header, _, signature = signed(claims_of(user)).split(".")
    forged = signed(claims_of(user) | {"user_id": "1"}).split(".")[1]
    return f"Bearer {header}.{forged}.{signature}"


def refresh_token(user: User) -> str:
    return f"Bearer {RefreshToken.for_user(user)}"


def header_text(text: str) -> Authorization:
    return lambda user: "Bearer " + signed_by_hand(text, json.dumps(claims_of(user)))


def payload_text(text: str) -> Authorization:
    return lambda _: "Bearer " + signed_by_hand('{"alg":"HS256","typ":"JWT"}', text)


def deleted_user(user: User) -> str:
    token = good(user)
    user.delete()
    return token


def deactivated_user(user: User) -> str:
    token = good(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    return token


def changed_password(user: User) -> str:
    token = good(user)
    user.set_password("another password")
    user.save()
    return token


def user_id_spelled(spell: Callable[[int], str]) -> Authorization:
    return lambda user: changed(user_id=spell(user.pk))(user)


REFUSED: dict[str, Authorization] = {
    "none": lambda _: None,
    "empty": lambda _: "",
    "scheme alone": lambda _: "Bearer",
    "other scheme": lambda user: good(user).replace("Bearer", "Token"),
    "basic": lambda _: "Basic bWFuYWdlcjpwYXNzd29yZA==",
    "no scheme": lambda user: good(user).removeprefix("Bearer "),
    "no space": lambda user: good(user).replace(" ", ""),
    "two tokens": lambda user: f"{good(user)} {good(user).split()[1]}",
    "comma": lambda user: f"{good(user)}, {good(user)}",
    "garbage": lambda _: "Bearer garbage",
    "dots": lambda _: "Bearer ..",
    "latin-1": lambda _: "Bearer \xe9\xff.\xe9.\xe9",
    "cut signature": cut_signature,
    "other signature": other_signature,
    "other payload": other_payload,
    "alg none": unsigned,
    "alg in lower case": header_text('{"alg":"hs256"}'),
    "no alg": header_text("{}"),
    "header is a list": header_text("[]"),
    "HS512, same key": signed_with_hs512,
    "RS256": signed_with_rsa,
    "HMAC with a public key": signed_with_public_key,
    "critical header": header_text('{"alg":"HS256","crit":["x"],"x":1}'),
    "expired": changed(exp=int(time.time()) - 1),
    "not yet valid, nbf": changed(nbf=int(time.time()) + 86_400),
    "not yet valid, iat": changed(iat=int(time.time()) + 86_400),
    "no exp": without("exp"),
    "no user": without("user_id"),
    "no type": without("token_type"),
    "no id": without("jti"),
    "refresh token": refresh_token,
    "other type": changed(token_type="sliding"),
    "deep header": header_text("[" * DEPTH + "]" * DEPTH),
    "deep payload": payload_text('{"a":' * DEPTH),
    "payload is a list": payload_text("[]"),
    "payload is a number": payload_text("1"),
    "payload is no JSON": payload_text("{"),
}
ODD = {
    "huge": 10**30,
    "tiny": -(10**30),
    "infinite": float("inf"),
    "not a number": float("nan"),
    "text": "soon",
    "number as text": "4102444800",
    "null": None,
    "true": True,
    "list": [],
    "object": {},
}
REFUSED |= {f"exp: {name}": changed(exp=value) for name, value in ODD.items()}
# PyJWT reads these two as times in the past, which are valid.
VALID_START = {"tiny", "true"}
REFUSED |= {
    f"{claim}: {name}": changed(**{claim: value})
    for claim in ("nbf", "iat")
    for name, value in ODD.items()
    if name not in VALID_START
}
# These reach the database.
REFUSED_USERS: dict[str, Authorization] = {
    "deleted user": deleted_user,
    "inactive user": deactivated_user,
    "password changed": changed_password,
    "no hash of the password": without("hash_password"),
}
REFUSED_USERS |= {
    f"user: {name}": changed(user_id=value)
    for name, value in {
        "huge": 10**30,
        "huge text": "1" * 30,
        # Python raises a ValueError for so many digits.
        "5,000 digits": "1" * 5_000,
        "negative": -1,
        "zero": 0,
        "NUL": "1\0",
        "surrogate": "\ud800",
        "text": "manager",
        "empty": "",
        "float": 1.0,
        "true": True,
        "null": None,
        "list": [1],
        "object": {"id": 1},
        "unknown": 999_999,
    }.items()
}
# Python's `int` accepts each of these as the user's ID.
REFUSED_USERS |= {
    f"user: {name}": user_id_spelled(spell)
    for name, spell in {
        "Arabic digits": lambda pk: "".join(chr(0x660 + int(digit)) for digit in str(pk)),
        "full-width digits": lambda pk: "".join(chr(0xFF10 + int(digit)) for digit in str(pk)),
        "sign": lambda pk: f"+{pk}",
        "white space": lambda pk: f" {pk}\n",
        "underscore": lambda pk: f"0_{pk}",
    }.items()
}


@pytest.fixture
def user(workspace: Workspace, make_user: Any) -> User:
    made: User = make_user("somebody", workspace, Role.MANAGER)
    return made


def update_with(authorization: str | None) -> Any:
    headers = {} if authorization is None else {"authorization": authorization}
    return ApiClient(headers=headers).update(NAME_CHANGE)


def assert_documented_refusal(response):
    assert response.status_code == 401
    assert re.sub(rb'"timestamp":\d+', b'"timestamp":0', response.content) == REFUSAL
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.only_on("sqlite", reason="no query is made")
@pytest.mark.parametrize("authorization", REFUSED.values(), ids=REFUSED)
def test_refused_token_gets_the_documented_body(
    authorization, user, connection, stored, django_assert_num_queries
):
    before = stored(connection)
    sent = authorization(user)

    with django_assert_num_queries(0):
        response = update_with(sent)

    assert_documented_refusal(response)
    assert stored(connection) == before


@pytest.mark.parametrize("authorization", REFUSED_USERS.values(), ids=REFUSED_USERS)
def test_token_of_a_refused_user_gets_the_documented_body(authorization, user, connection, stored):
    before = stored(connection)

    response = update_with(authorization(user))

    assert_documented_refusal(response)
    assert stored(connection) == before


def test_token_that_was_accepted_before_expires(user, connection, stored, monkeypatch):
    """The verified signature is cached, but the time is checked again."""
    authorization = good(user)
    assert update_with(authorization).status_code == 200
    before = stored(connection)
    later = tokens.aware_utcnow() + timedelta(minutes=15, seconds=1)
    monkeypatch.setattr(tokens, "aware_utcnow", lambda: later)

    response = update_with(authorization)

    assert (response.status_code, response.json()["code"]) == (401, "4010")
    assert stored(connection) == before


def test_token_of_a_clock_that_was_put_back_is_refused(user, connection, stored, monkeypatch):
    """While the clock was ahead, its signature was remembered as good."""
    hour_ahead = datetime.now(UTC) + timedelta(hours=1)
    with monkeypatch.context() as ahead:
        ahead.setattr("jwt.api_jwt.datetime", Mock(now=lambda **_: hour_ahead))
        ahead.setattr(tokens, "aware_utcnow", lambda: hour_ahead)
        ahead.setattr("workspaces.tokens.time", Mock(time=hour_ahead.timestamp))
        authorization = good(user)
        assert [update_with(authorization).status_code for _ in range(2)] == [200, 200]
    before = stored(connection)

    assert update_with(authorization).status_code == 401
    assert stored(connection) == before


@pytest.mark.only_on("sqlite", reason="tokens do not depend on the database")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_scheme_is_case_insensitive(scheme, user, connection):
    assert update_with(good(user).replace("Bearer", scheme)).status_code == 200


@pytest.mark.only_on("sqlite", reason="tokens do not depend on the database")
@pytest.mark.parametrize(
    "authorization",
    [changed(nbf=1), changed(nbf=1.5), changed(iat=int(time.time())), without("iat")],
    ids=["nbf long ago", "nbf with a fraction", "iat now", "no iat"],
)
def test_unusual_valid_token_is_accepted(authorization, user, connection):
    assert update_with(authorization(user)).status_code == 200


@pytest.mark.only_on("sqlite", reason="tokens do not depend on the database")
@pytest.mark.parametrize("claim", ["aud", "iss"])
@pytest.mark.parametrize(
    "value", ["somebody-else", None, "", 7, {}, ["somebody-else"], [["us"]]], ids=repr
)
def test_other_audience_or_issuer_is_refused(claim, value, user, connection, monkeypatch):
    monkeypatch.setattr(api_settings, {"aud": "AUDIENCE", "iss": "ISSUER"}[claim], "us")

    response = update_with(changed(**{claim: value})(user))

    connection.refresh_from_db()
    assert response.status_code == 401
    assert re.sub(rb'"timestamp":\d+', b'"timestamp":0', response.content) == REFUSAL
    assert connection.version == 1


@pytest.mark.only_on("sqlite", reason="tokens do not depend on the database")
@pytest.mark.parametrize("setting", ["AUDIENCE", "ISSUER"])
def test_missing_audience_or_issuer_is_refused(setting, user, connection, stored, monkeypatch):
    before = stored(connection)
    token = good(user)
    monkeypatch.setattr(api_settings, setting, "us")

    response = update_with(token)

    assert response.status_code == 401
    assert response.json()["code"] == "4010"
    assert stored(connection) == before


@pytest.mark.only_on("sqlite", reason="tokens do not depend on the database")
def test_issued_tokens_have_audience_and_issuer(user, connection, monkeypatch):
    monkeypatch.setattr(api_settings, "AUDIENCE", "us")
    monkeypatch.setattr(api_settings, "ISSUER", "https://connections.example.com")

    assert ApiClient(user).update(NAME_CHANGE).status_code == 200


@pytest.mark.only_on("sqlite", reason="tokens do not depend on the database")
def test_access_token_lasts_15_minutes(user):
    claims = claims_of(user)

    assert claims["exp"] - claims["iat"] == 15 * 60


@pytest.mark.parametrize(
    "take_away",
    [
        lambda user: Membership.objects.filter(user=user).delete(),
        lambda user: Membership.objects.filter(user=user).update(role=Role.VIEWER),
        lambda user: Workspace.objects.filter(memberships__user=user).update(is_active=False),
    ],
    ids=["membership", "role", "workspace"],
)
def test_removed_permission_is_403_for_an_issued_token(take_away, user, connection, stored):
    before = stored(connection)
    client = ApiClient(user)
    take_away(user)

    response = client.update(NAME_CHANGE)

    assert response.status_code == 403
    assert response.json()["code"] == "4030"
    assert stored(connection) == before


def test_added_permission_applies_to_an_issued_token(make_user, workspace, connection):
    user = make_user("newcomer")
    client = ApiClient(user)
    Membership.objects.create(user=user, workspace=workspace, role=Role.MANAGER)

    assert client.update(NAME_CHANGE).status_code == 200
