"""Tokens of an identity provider, verified with its public key or its JWKS endpoint."""

import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from rest_framework_simplejwt.settings import api_settings

from tests.conftest import ApiClient
from tests.service import free_port

pytestmark = pytest.mark.only_on("sqlite", reason="tokens do not depend on the database")

NAME_CHANGE = {"connectionBizId": "sc_abc123", "connectionName": "Changed"}
AUDIENCE = "stripe-connections"
ISSUER = "https://identity.example.com/"


@cache
def private_key(algorithm: str, name: str) -> Any:
    """Return the key for an algorithm and name; generating one is slow."""
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def pem(algorithm: str) -> str:
    public = private_key(algorithm, "first").public_key()
    encoding = serialization.Encoding.PEM
    return public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(algorithm: str, name: str = "first") -> dict[str, Any]:
    to_jwk = RSAAlgorithm.to_jwk if algorithm == "RS256" else ECAlgorithm.to_jwk
    public = to_jwk(private_key(algorithm, name).public_key(), as_dict=True)
    return public | {"kid": name, "use": "sig", "alg": algorithm}


def call(token: str) -> Any:
    client = ApiClient()
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client.update(NAME_CHANGE)


class Provider:
    """A JWKS endpoint, and the tokens signed with its keys."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.body = json.dumps({"keys": [jwk(algorithm)]}).encode()
        self.status = 200
        self.requests = 0
        # Keys are cached by URL, and a port may be used again.
        self.path = f"/{uuid.uuid4()}"
        self.server: HTTPServer | None = None
        # It can start again on this port.
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.requests += 1
                self.send_response(provider.status)
                self.end_headers()
                self.wfile.write(provider.body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", self.port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()
            self.server = None

    def roll_keys(self) -> None:
        self.body = json.dumps({"keys": [jwk(self.algorithm, "second")]}).encode()

    def token(self, key: str = "first", kid: str | None = None, **claims: Any) -> str:
        claims = {
            "sub": "manager",
            "exp": int(time.time()) + 600,
            "aud": AUDIENCE,
            "iss": ISSUER,
        } | claims
        given = {name: value for name, value in claims.items() if value is not None}
        signing_key = private_key(self.algorithm, key)
        return jwt.encode(given, signing_key, self.algorithm, headers={"kid": kid or key})


# The claims are verified alike, so most tests need one algorithm only.
EACH_ALGORITHM = pytest.mark.parametrize("provider", ["RS256", "ES256"], indirect=True)


@pytest.fixture
def provider(request: Any, manager: Any, connection: Any, monkeypatch: Any) -> Iterator[Provider]:
    made = Provider(getattr(request, "param", "ES256"))
    made.start()
    for name, value in {
        "ALGORITHM": made.algorithm,
        "SIGNING_KEY": "",
        "JWK_URL": made.url,
        "AUDIENCE": AUDIENCE,
        "ISSUER": ISSUER,
        "USER_ID_CLAIM": "sub",
        "USER_ID_FIELD": "username",
    }.items():
        monkeypatch.setattr(api_settings, name, value)
    yield made
    made.stop()


@pytest.fixture
def pem_provider(provider: Provider, monkeypatch: Any) -> Provider:
    """The provider, with its public key in the settings instead of its endpoint."""
    provider.stop()
    monkeypatch.setattr(api_settings, "JWK_URL", None)
    monkeypatch.setattr(api_settings, "VERIFYING_KEY", pem(provider.algorithm))
    return provider


@pytest.fixture
def clock(monkeypatch: Any) -> Any:
    """A stopped clock for the code that fetches keys; `clock.seconds` sets it."""
    moved = SimpleNamespace(seconds=time.monotonic())
    fake = SimpleNamespace(monotonic=lambda: moved.seconds)
    for module in ("workspaces.tokens", "jwt.jwks_client", "jwt.jwk_set_cache", "jwt.api_jwk"):
        monkeypatch.setattr(f"{module}.time", fake)
    return moved


@EACH_ALGORITHM
def test_valid_token_is_accepted_with_jwks(provider):
    assert call(provider.token()).status_code == 200


@EACH_ALGORITHM
def test_valid_token_is_accepted_with_pem(pem_provider):
    assert call(pem_provider.token()).status_code == 200


@EACH_ALGORITHM
def test_token_signed_with_another_key_is_401_with_jwks(provider):
    assert call(provider.token("second", "first")).status_code == 401


@EACH_ALGORITHM
def test_token_signed_with_another_key_is_401_with_pem(pem_provider):
    assert call(pem_provider.token("second", "first")).status_code == 401


REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1},
    "no exp": {"exp": None},
    "huge exp": {"exp": 10**30},
    "not yet valid": {"nbf": 4_102_444_800},
    "other audience": {"aud": "somebody-else"},
    "no audience": {"aud": None},
    "other issuer": {"iss": "https://identity.example.com"},
    "no issuer": {"iss": None},
    "no subject": {"sub": None},
    "unknown subject": {"sub": "nobody"},
    "empty subject": {"sub": ""},
    "NUL in the subject": {"sub": "manager\0"},
    "subject in another case": {"sub": "Manager"},
    "subject too long": {"sub": "m" * 10_000},
    "number as the subject": {"sub": 1},
    "user_id instead": {"sub": None, "user_id": "1"},
    "refresh token": {"token_type": "refresh"},
}


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED)
def test_wrong_token_is_401_with_jwks(claims, provider, connection, stored):
    before = stored(connection)

    response = call(provider.token(**claims))

    assert (response.status_code, response.json()["code"]) == (401, "4010")
    assert stored(connection) == before


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED)
def test_wrong_token_is_401_with_pem(claims, pem_provider, connection, stored):
    before = stored(connection)

    response = call(pem_provider.token(**claims))

    assert (response.status_code, response.json()["code"]) == (401, "4010")
    assert stored(connection) == before


@EACH_ALGORITHM
def test_token_signed_with_the_public_key_as_an_hmac_secret_is_401(
    pem_provider, connection, stored
):
    before = stored(connection)
    # Made by hand, because PyJWT refuses to sign with a public key.
    header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signed = header + b"." + pem_provider.token().split(".")[1].encode()
    digest = hmac.digest(pem(pem_provider.algorithm).encode(), signed, hashlib.sha256)
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=")

    assert call((signed + b"." + signature).decode()).status_code == 401
    assert stored(connection) == before


def token_with_header(provider: Provider, header: dict[str, str]) -> str:
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    key = private_key(provider.algorithm, "first")
    return jwt.encode(claims, key, provider.algorithm, headers=header)


@pytest.mark.parametrize("kid", ["", "made-up"])
def test_token_with_an_unknown_key_id_is_401(kid, provider):
    assert call(token_with_header(provider, {"kid": kid})).status_code == 401


@pytest.mark.parametrize("kid", ["first", None])
def test_token_without_a_key_id_is_verified_with_the_only_key(kid, provider):
    provider.body = json.dumps({"keys": [jwk(provider.algorithm) | {"kid": kid}]}).encode()

    assert call(token_with_header(provider, {})).status_code == 200


def test_token_without_a_key_id_is_401_if_there_are_several_keys(provider):
    keys = [jwk(provider.algorithm, name) for name in ("first", "second")]
    provider.body = json.dumps({"keys": keys}).encode()

    assert call(token_with_header(provider, {})).status_code == 401


@EACH_ALGORITHM
@pytest.mark.parametrize("algorithms", [("RS256", "ES256"), ("ES256", "RS256")], ids=str)
@pytest.mark.parametrize("declared", [True, False])
def test_key_of_the_configured_algorithm_is_used_if_two_have_one_id(declared, algorithms, provider):
    dropped = set() if declared else {"alg", "use"}
    keys = [{k: v for k, v in jwk(name).items() if k not in dropped} for name in algorithms]
    provider.body = json.dumps({"keys": keys}).encode()

    assert call(provider.token()).status_code == 200


@EACH_ALGORITHM
@pytest.mark.parametrize(("other", "order"), [("RS512", 1), ("RS512", -1), ("PS256", 1)])
def test_declared_algorithm_selects_between_keys_of_one_type(other, order, provider):
    keys = [jwk("RS256", "second") | {"kid": "first", "alg": other}, jwk(provider.algorithm)]
    provider.body = json.dumps({"keys": keys[::order]}).encode()

    assert call(provider.token()).status_code == 200


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize(("leeway", "status"), [(0, 401), (900, 200)])
def test_clock_of_the_provider_may_be_ahead_by_the_leeway(
    claim, leeway, status, provider, monkeypatch
):
    monkeypatch.setattr(api_settings, "LEEWAY", leeway)

    assert call(provider.token(**{claim: int(time.time()) + 600})).status_code == status


def test_audience_may_be_one_of_a_list(provider):
    assert call(provider.token(aud=["somebody-else", AUDIENCE])).status_code == 200


def test_token_of_the_provider_stays_valid_after_a_change_of_password(provider, django_user_model):
    user = django_user_model.objects.get(username="manager")
    user.set_password("another password")
    user.save()

    assert call(provider.token()).status_code == 200


def test_inactive_user_is_401(provider, django_user_model):
    django_user_model.objects.update(is_active=False)

    assert call(provider.token()).status_code == 401


def test_token_of_the_service_is_401(manager, provider):
    assert manager.update(NAME_CHANGE).status_code == 401


# ── A failing endpoint ────────────────────────────────────────────────────────────────────────
def test_keys_are_fetched_once(provider):
    statuses = {call(provider.token()).status_code for _ in range(5)}

    assert statuses == {200}
    assert provider.requests == 1


def test_unreachable_endpoint_is_503(provider, connection, stored):
    before = stored(connection)
    provider.stop()

    response = call(provider.token())

    assert (response.status_code, response.json()["code"]) == (503, "5030")
    assert int(response.headers["Retry-After"]) >= 1
    assert stored(connection) == before


def test_keys_are_fetched_again_after_a_pause(provider, clock):
    provider.stop()
    call(provider.token())
    provider.start()
    during_pause = call(provider.token()).status_code
    clock.seconds += 11

    assert (during_pause, call(provider.token()).status_code) == (503, 200)


def test_failing_endpoint_does_not_get_a_request_for_every_token(provider):
    provider.status = 500
    statuses = {call(provider.token()).status_code for _ in range(5)}

    assert statuses == {503}
    assert provider.requests == 1


def test_garbage_token_is_401_while_the_endpoint_is_down(provider):
    provider.stop()

    assert call("garbage").status_code == 401


def test_known_keys_work_while_the_endpoint_is_down(provider, clock):
    call(provider.token())
    provider.stop()
    statuses = []
    for seconds in (20, 600, 86_400):
        clock.seconds = seconds
        statuses.append(call(provider.token()).status_code)

    assert statuses == [200, 200, 200]


def test_unknown_key_is_503_while_the_endpoint_is_down(provider, clock):
    call(provider.token())
    provider.stop()
    clock.seconds += 11

    response = call(provider.token("second"))

    assert response.status_code == 503
    assert "Retry-After" in response.headers


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (404, b'{"keys": []}'),
        (302, b""),
        (200, b""),
        (200, b"<html>Sign in</html>"),
        (200, b"\xff\xfe"),
        (200, b"null"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": null}'),
        (200, b'{"keys": 1}'),
        (200, b'{"keys": "x"}'),
        (200, b'{"keys": {"a": "b"}}'),
        (200, b'{"keys": [null, 1, "x", {}, {"kty": "RSA"}, {"kty": 7}]}'),
        (200, b'{"keys": [{"kty": "RSA", "kid": "first", "n": "!", "e": 7}]}'),
        (200, b'{"keys": [{"kty": "EC", "kid": "first", "crv": "P-256", "x": "AA", "y": 1}]}'),
        (200, b"[" * 100_000),
    ],
)
def test_garbage_from_the_endpoint_is_503(status, body, provider, connection, stored):
    before = stored(connection)
    provider.status, provider.body = status, body

    response = call(provider.token())

    assert (response.status_code, response.json()["code"]) == (503, "5030")
    assert stored(connection) == before


def test_known_keys_work_after_garbage_from_the_endpoint(provider, clock):
    call(provider.token())
    provider.body = b'{"keys": []}'
    clock.seconds += 600

    assert call(provider.token()).status_code == 200


@EACH_ALGORITHM
def test_new_key_of_the_provider_is_fetched(provider, clock):
    call(provider.token())
    provider.roll_keys()
    clock.seconds += 11

    assert call(provider.token("second")).status_code == 200


def test_removed_key_is_refused_after_the_keys_are_fetched_again(provider, clock):
    call(provider.token())
    provider.roll_keys()
    clock.seconds += 301

    assert call(provider.token()).status_code == 401


def test_unknown_key_ids_cause_only_one_request(provider, clock):
    call(provider.token())
    clock.seconds += 11
    statuses = {call(provider.token(kid=f"made-up {n}")).status_code for n in range(20)}

    assert statuses == {401}
    assert provider.requests == 2


def test_unknown_key_ids_cause_only_one_request_to_a_failing_endpoint(provider, clock):
    call(provider.token())
    clock.seconds += 11
    provider.status = 500
    statuses = {call(provider.token(kid=f"made-up {n}")).status_code for n in range(20)}

    assert statuses == {503}
    assert provider.requests == 2


@pytest.mark.parametrize("path", ["token", "token/refresh"])
def test_token_calls_are_404(path, provider):
    response = ApiClient().post(f"/web/v1/auth/{path}", {}, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (404, "4040")
