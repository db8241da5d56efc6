"""The calls that issue and refresh tokens, and their rate limits."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection as database
from django.test import Client
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from tests.conftest import ApiClient
from workspaces import throttles
from workspaces.tokens import RefreshToken

LOGIN = "/web/v1/auth/token"
REFRESH = "/web/v1/auth/token/refresh"
PASSWORD = "password of somebody"
CREDENTIALS = {"username": "somebody", "password": PASSWORD}
THREADS = 8
ONE_DATABASE = pytest.mark.only_on("sqlite", reason="bad requests do not reach the database")


class CountingHasher(MD5PasswordHasher):
    """Counts the hashed passwords."""

    encoded = 0

    def encode(self, password: str, salt: str) -> str:
        type(self).encoded += 1
        return super().encode(password, salt)


@pytest.fixture
def user(make_user: Any, workspace: Any) -> User:
    user: User = make_user("somebody", workspace)
    return user


@pytest.fixture
def throttle(settings: Any, db: None, monkeypatch: Any) -> Any:
    """Return a function that sets THROTTLE_TOKEN and NUM_PROXIES."""

    def set_rate(rate: str | None, proxies: int = 0) -> None:
        settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {
            "DEFAULT_THROTTLE_RATES": {"token": rate},
            "NUM_PROXIES": proxies,
        }

    monkeypatch.setattr(throttles, "counter", throttles.Counter())
    return set_rate


def post(path: str, body: Any, **headers: str) -> Any:
    client = Client(raise_request_exception=False, headers=headers)
    return client.post(path, body, content_type="application/json")


def log_in(username: str = "somebody", password: str = PASSWORD, **headers: str) -> Any:
    return post(LOGIN, {"username": username, "password": password}, **headers)


def refresh(token: Any, **headers: str) -> Any:
    return post(REFRESH, {"refreshToken": token}, **headers)


def without_time(response: Any) -> bytes:
    return re.sub(rb'"timestamp":\d+', b'"timestamp":0', response.content)


def refresh_token_of(user: User, **claims: Any) -> str:
    token = RefreshToken.for_user(user)
    token.payload |= claims
    return str(token)


# ── Login ─────────────────────────────────────────────────────────────────────────────────────
def test_login_returns_two_tokens_in_the_envelope(user):
    response = log_in()

    body = response.json()
    assert response.status_code == 200
    assert list(body) == ["version", "timestamp", "success", "code", "message", "data"]
    assert list(body["data"]) == ["accessToken", "refreshToken", "expiresIn"]
    assert body["code"] == "2000"
    assert body["data"]["expiresIn"] == 900
    assert response.headers["Cache-Control"] == "no-store"


def test_access_token_of_the_login_is_valid_for_an_update(user, connection):
    client = ApiClient()
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {log_in().json()['data']['accessToken']}"

    response = client.update({"connectionBizId": "sc_abc123", "connectionName": "New"})

    assert response.json()["data"]["connectionName"] == "New"


def test_login_ignores_a_bad_token_in_the_header(user):
    assert log_in(authorization="Bearer garbage").status_code == 200


def unknown(user: User) -> tuple[str, str]:
    return "nobody", PASSWORD


def inactive(user: User) -> tuple[str, str]:
    User.objects.update(is_active=False)
    return "somebody", PASSWORD


def wrong_password(user: User) -> tuple[str, str]:
    return "somebody", "wrong"


def unusable_password(user: User) -> tuple[str, str]:
    user.set_unusable_password()
    user.save()
    return "somebody", PASSWORD


def spaces_around_the_name(user: User) -> tuple[str, str]:
    return " somebody ", PASSWORD


def spaces_around_the_password(user: User) -> tuple[str, str]:
    return "somebody", f" {PASSWORD} "


WRONG_LOGINS = [
    unknown,
    inactive,
    wrong_password,
    unusable_password,
    spaces_around_the_name,
    spaces_around_the_password,
]


@pytest.mark.parametrize("wrong", WRONG_LOGINS)
def test_every_wrong_login_gets_the_same_response(wrong, user):
    response = log_in(*wrong(user))

    assert response.status_code == 401
    assert without_time(response) == (
        b'{"version":"1.3.0","timestamp":0,"success":false,"code":"4010",'
        b'"message":"Invalid username or password"}'
    )
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("wrong", WRONG_LOGINS)
def test_wrong_login_hashes_one_password_like_a_correct_one(wrong, user, settings):
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    name, password = wrong(user)
    CountingHasher.encoded = 0

    log_in(name, password)
    of_wrong = CountingHasher.encoded
    User.objects.update(is_active=True)
    user.set_password(PASSWORD)
    user.save()
    CountingHasher.encoded = 0
    log_in()

    assert of_wrong == CountingHasher.encoded == 1


@ONE_DATABASE
@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        (LOGIN, {}, [("username", "required"), ("password", "required")]),
        (LOGIN, {"username": "somebody"}, [("password", "required")]),
        (LOGIN, {"username": None, "password": None}, [("username", "null"), ("password", "null")]),
        (LOGIN, {"username": "", "password": ""}, [("username", "blank"), ("password", "blank")]),
        (LOGIN, CREDENTIALS | {"username": 1}, [("username", "invalid_type")]),
        (LOGIN, CREDENTIALS | {"username": ["a"]}, [("username", "invalid_type")]),
        (LOGIN, CREDENTIALS | {"password": True}, [("password", "invalid_type")]),
        (LOGIN, CREDENTIALS | {"password": {}}, [("password", "invalid_type")]),
        (LOGIN, CREDENTIALS | {"password": "x" * 4097}, [("password", "max_length")]),
        (LOGIN, CREDENTIALS | {"Username": "x"}, [("Username", "unknown")]),
        (LOGIN, CREDENTIALS | {"remember": True}, [("remember", "unknown")]),
        (LOGIN, CREDENTIALS | {"sk_" + "live_a1": 1}, [(None, "unknown")]),
        (LOGIN, CREDENTIALS | {"a1" * 10: 1}, [(None, "unknown")]),
        (LOGIN, CREDENTIALS | {"username": "some\0body"}, [("username", "invalid_characters")]),
        (LOGIN, CREDENTIALS | {"password": "\ud800"}, [("password", "invalid_characters")]),
        (LOGIN, [CREDENTIALS], [(None, "not_an_object")]),
        (LOGIN, b'{"username": "a", "username": "b", "password": "c"}', [(None, "not_json")]),
        (LOGIN, b" ", [(None, "not_json")]),
        (LOGIN, b"{", [(None, "not_json")]),
        (REFRESH, {}, [("refreshToken", "required")]),
        (REFRESH, {"refreshToken": None}, [("refreshToken", "null")]),
        (REFRESH, {"refreshToken": " "}, [("refreshToken", "blank")]),
        (REFRESH, {"refreshToken": 1}, [("refreshToken", "invalid_type")]),
        (REFRESH, {"refreshToken": "x\0"}, [("refreshToken", "invalid_characters")]),
        (REFRESH, {"refreshToken": "x", "whsec_" + "a1": 1}, [(None, "unknown")]),
        (REFRESH, {"refresh": "x"}, [("refreshToken", "required"), ("refresh", "unknown")]),
    ],
)  # fmt: skip
def test_bad_body_is_refused(path, body, errors, user):
    response = post(path, body)

    assert response.status_code == 400
    assert response.json()["code"] == "4000"
    assert [(error["field"], error["code"]) for error in response.json()["errors"]] == errors


@ONE_DATABASE
@pytest.mark.parametrize("path", [LOGIN, REFRESH])
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head", "options", "trace"])
def test_other_methods_are_405(path, method, db):
    response = getattr(Client(raise_request_exception=False), method)(path)

    assert response.status_code == 405


@ONE_DATABASE
@pytest.mark.parametrize("path", [LOGIN, REFRESH])
def test_other_media_types_are_415(path, db):
    response = Client().post(path, {"username": "a", "password": "b"})

    assert response.status_code == 415
    assert response.json()["code"] == "4150"


@ONE_DATABASE
@pytest.mark.parametrize("path", [LOGIN, REFRESH])
def test_portal_code_is_checked_first(path, db, settings):
    settings.PORTAL_ACCESS_CODE = "code"

    assert post(path, {}).status_code == 403


# ── Refresh ───────────────────────────────────────────────────────────────────────────────────
def test_refresh_returns_two_new_tokens(user, connection):
    old = log_in().json()["data"]

    new = refresh(old["refreshToken"]).json()["data"]

    client = ApiClient()
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {new['accessToken']}"
    assert list(new) == ["accessToken", "refreshToken", "expiresIn"]
    assert new["refreshToken"] != old["refreshToken"]
    assert client.update({"connectionBizId": "sc_abc123"}).status_code == 200


def test_new_refresh_token_can_be_used(user):
    first = log_in().json()["data"]["refreshToken"]
    second = refresh(first).json()["data"]["refreshToken"]

    assert refresh(second).status_code == 200


def deleted_user(user: User) -> str:
    token = refresh_token_of(user)
    user.delete()
    return token


def inactive_user(user: User) -> str:
    User.objects.update(is_active=False)
    return refresh_token_of(user)


def new_password(user: User) -> str:
    token = refresh_token_of(user)
    user.set_password("another password")
    user.save()
    return token


def used_before(user: User) -> str:
    token = refresh_token_of(user)
    refresh(token)
    return token


REFUSED = {
    "garbage": lambda _: "garbage",
    "access token": lambda user: str(RefreshToken.for_user(user).access_token),
    "expired": lambda user: refresh_token_of(user, exp=int(time.time()) - 1),
    "not yet valid": lambda user: refresh_token_of(user, nbf=int(time.time()) + 600),
    "huge exp": lambda user: refresh_token_of(user, exp=10**30),
    "huge user": lambda user: refresh_token_of(user, user_id=10**30),
    "NUL in user": lambda user: refresh_token_of(user, user_id="1\0"),
    "NUL in jti": lambda user: refresh_token_of(user, jti="1\0"),
    "surrogate in jti": lambda user: refresh_token_of(user, jti="\ud800"),
    "long jti": lambda user: refresh_token_of(user, jti="x" * 256),
    "odd jti": lambda user: refresh_token_of(user, jti={}),
    "other signature": lambda user: jwt.encode(RefreshToken.for_user(user).payload, "x" * 64),
    "used before": used_before,
    "deleted user": deleted_user,
    "inactive user": inactive_user,
    "new password": new_password,
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_refused_refresh_is_the_documented_401(token, user):
    response = refresh(token(user))

    assert response.status_code == 401
    assert without_time(response) == (
        b'{"version":"1.3.0","timestamp":0,"success":false,"code":"4010",'
        b'"message":"Invalid or expired token"}'
    )


@pytest.mark.only_on("postgresql", reason="the database in memory cannot be used by threads")
@pytest.mark.django_db(transaction=True)
def test_concurrent_use_of_a_refresh_token_succeeds_once(user):
    token = refresh_token_of(user)
    start = threading.Barrier(THREADS)

    def trade(_: int) -> int:
        start.wait()
        try:
            return int(refresh(token).status_code)
        finally:
            database.close()

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = sorted(pool.map(trade, range(THREADS)))

    assert statuses == [200] + [401] * (THREADS - 1)


def test_no_token_is_stored(user):
    pair = log_in().json()["data"]
    newer = refresh(pair["refreshToken"]).json()["data"]
    refresh(newer["refreshToken"])
    dump = StringIO()
    call_command("dumpdata", stdout=dump)

    signatures = [
        token.rpartition(".")[2]
        for token in (pair["accessToken"], pair["refreshToken"], newer["refreshToken"])
    ]
    assert set(OutstandingToken.objects.values_list("token", flat=True)) == {""}
    assert BlacklistedToken.objects.count() == 2
    assert [signature for signature in signatures if signature in dump.getvalue()] == []


# ── Throttle ──────────────────────────────────────────────────────────────────────────────────
def test_many_logins_with_one_username_are_429(user, throttle):
    throttle("2/min", proxies=1)
    statuses = [log_in(x_forwarded_for=f"198.51.100.{number}").status_code for number in range(4)]

    assert statuses == [200, 200, 429, 429]


def test_usernames_are_counted_case_insensitively(user, throttle):
    throttle("2/min", proxies=1)
    statuses = [
        log_in(name, x_forwarded_for=name).status_code
        for name in ("somebody", "SOMEBODY", "Somebody")
    ]

    assert statuses == [200, 401, 429]


def test_many_logins_from_one_address_are_429(user, throttle):
    throttle("2/min")
    statuses = [log_in(f"name {number}").status_code for number in range(3)]

    assert statuses == [401, 401, 429]


def test_many_refreshes_from_one_address_are_429(user, throttle):
    throttle("2/min")
    statuses = [refresh("garbage").status_code for _ in range(3)]

    assert statuses == [401, 401, 429]


def test_logins_and_refreshes_have_separate_limits(user, throttle):
    throttle("1/min")

    assert [log_in().status_code, refresh("garbage").status_code] == [200, 401]


def test_throttled_response_has_retry_after(user, throttle):
    throttle("1/min")
    log_in()

    response = log_in()

    body = response.json()
    assert response.status_code == 429
    assert list(body) == ["version", "timestamp", "success", "code", "message"]
    assert (body["code"], body["message"]) == ("4290", "Too many requests")
    assert 1 <= int(response.headers["Retry-After"]) <= 60


def test_throttle_ends_with_its_period(user, throttle, monkeypatch):
    throttle("1/min")
    log_in()
    now = throttles.time()
    monkeypatch.setattr(throttles, "time", lambda: now + 61)

    assert log_in().status_code == 200


def test_throttle_is_off_without_a_rate(user, throttle):
    throttle(None)

    assert {log_in().status_code for _ in range(12)} == {200}


@pytest.mark.parametrize(
    ("proxies", "forwarded", "statuses"),
    [
        (0, ["1.1.1.1", "2.2.2.2"], [200, 429]),
        (1, ["1.1.1.1", "2.2.2.2"], [200, 200]),
        (1, ["1.1.1.1, 9.9.9.9", "2.2.2.2, 9.9.9.9"], [200, 429]),
        (2, ["1.1.1.1, 9.9.9.9", "2.2.2.2, 9.9.9.9"], [200, 200]),
        (2, ["7.7.7.7, 1.1.1.1, 9.9.9.9", "8.8.8.8, 1.1.1.1, 9.9.9.9"], [200, 429]),
        (1, ["1.1.1.1:40001", "1.1.1.1:40002"], [200, 429]),
        (1, ["1.1.1.1:40001", "2.2.2.2:40001"], [200, 200]),
        (1, ["1.1.1.1", "::ffff:1.1.1.1"], [200, 429]),
        (1, ["[2001:db8::1]:40001", "[2001:db8::1]:40002"], [200, 429]),
        (1, ["[2001:db8::1]", "2001:db8::2"], [200, 429]),
        (1, ["[2001:db8:0:1::1]:40001", "[2001:db8:0:2::1]:40001"], [200, 200]),
        (1, ["unknown", "1.1.1.1:"], [200, 429]),
    ],
)
def test_client_address_follows_from_num_proxies(proxies, forwarded, statuses, make_user, throttle):
    throttle("1/min", proxies)
    names = ["first", "second"]
    for name in names:
        make_user(name)

    found = [
        log_in(name, f"password of {name}", x_forwarded_for=addresses).status_code
        for name, addresses in zip(names, forwarded, strict=True)
    ]

    assert found == statuses


def test_limit_of_logins_does_not_apply_to_updates(manager, connection, throttle):
    throttle("1/min")

    assert {manager.update({"connectionBizId": "sc_abc123"}).status_code for _ in range(3)} == {200}


@ONE_DATABASE
# ── With an identity provider ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("setting", ["VERIFYING_KEY", "JWK_URL"])
@pytest.mark.parametrize("path", [LOGIN, REFRESH])
def test_calls_are_404_with_an_identity_provider(path, setting, user, monkeypatch):
    monkeypatch.setattr(api_settings, setting, "https://identity.example.com/keys")

    response = post(path, CREDENTIALS)

    assert response.status_code == 404
    assert response.json()["code"] == "4040"
