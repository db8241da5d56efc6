"""The login of the admin: guessing, sessions, codes, and the headers of its pages."""

import importlib
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.conf import settings as project
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.db import connection as database
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

import config.urls
from tests.conftest import ApiClient, read_only
from tests.stripe_connections.admin.conftest import (
    AUDIT,
    FIND,
    LIST,
    StaffClient,
    not_rendering,
    text,
)

LOGIN = "/admin/login/"
ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the pages")
LIMIT = 10


@pytest.fixture
def person(make_staff):
    make_staff("person", "view_stripeconnection")
    return {"username": "person", "password": "password of person"}


def log_in(username="person", password="wrong", address="192.0.2.1"):
    return StaffClient().post(
        LOGIN, {"username": username, "password": password, "next": LIST}, REMOTE_ADDR=address
    )


@pytest.fixture
def guess():
    def try_often(times, **who):
        with not_rendering():
            return [log_in(**who).status_code for _ in range(times)]

    return try_often


@ONE_DATABASE
def test_correct_password_logs_in(person):
    assert log_in(**person).headers["Location"] == LIST


def test_guessing_locks_the_username_for_all_addresses(person, guess):
    answers = guess(LIMIT)

    closed = log_in(**person, address="192.0.2.99")

    assert answers == [200] * (LIMIT - 1) + [429]
    assert closed.status_code == 429
    assert "Too many attempts" in text(closed)
    assert "Django" not in text(closed)


@ONE_DATABASE
def test_guessing_locks_the_address_for_all_usernames(person, make_staff, guess):
    make_staff("other")
    guess(LIMIT, username="somebody")

    assert log_in(**person).status_code == 429
    assert log_in(**person, address="192.0.2.99").status_code == 302


def test_lock_expires(person, guess, monkeypatch):
    guess(LIMIT)
    later = timezone.now() + timedelta(minutes=16)
    monkeypatch.setattr("axes.handlers.proxy.now", lambda: later)
    monkeypatch.setattr("axes.attempts.now", lambda: later)

    assert log_in(**person).status_code == 302


@pytest.mark.parametrize(("ahead", "status"), [(1, 429), (60 * 24, 302)])
def test_clock_that_is_put_back_opens_the_login_again(person, guess, ahead, status):
    guess(LIMIT)
    AccessAttempt.objects.update(attempt_time=timezone.now() + timedelta(minutes=ahead))

    assert log_in(**person).status_code == status


@ONE_DATABASE
def test_unknown_and_known_usernames_get_the_same_page(person):
    wrong, unknown = log_in(), log_in(username="nobody")

    assert wrong.context["errors"] == unknown.context["errors"]


@ONE_DATABASE
def test_lock_uses_the_clients_address_from_the_proxy(person, guess, settings):
    settings.REST_FRAMEWORK = project.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    with not_rendering():
        for number in range(LIMIT):
            StaffClient().post(
                LOGIN,
                {"username": f"name{number}", "password": "wrong"},
                headers={"X-Forwarded-For": "198.51.100.7"},
            )

    closed = StaffClient().post(LOGIN, person, headers={"X-Forwarded-For": "198.51.100.7"})
    other = StaffClient().post(LOGIN, person, headers={"X-Forwarded-For": "198.51.100.8"})

    assert (closed.status_code, other.status_code) == (429, 302)


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_attempt_is_stored_with_the_address_without_its_port(person, settings, forwarded, address):
    settings.REST_FRAMEWORK = project.REST_FRAMEWORK | {"NUM_PROXIES": 1}

    answer = StaffClient().post(
        LOGIN, person | {"password": "wrong"}, headers={"X-Forwarded-For": forwarded}
    )

    assert answer.status_code == 200
    assert AccessAttempt.objects.get().ip_address == address


@ONE_DATABASE
def test_failed_logins_of_the_api_do_not_lock_the_admin(person):
    for _ in range(LIMIT):
        ApiClient().post(
            "/web/v1/auth/token",
            {"username": "person", "password": "wrong"},
            content_type="application/json",
        )

    assert log_in(**person).status_code == 302


@ONE_DATABASE
def test_user_who_is_not_staff_cannot_log_in(make_user):
    make_user("customer")

    assert log_in(username="customer", password="password of customer").status_code == 200


@ONE_DATABASE
def test_session_cookie_is_secure_and_expires_soon(person):
    cookie = log_in(**person).cookies["sessionid"]

    session = Session.objects.get(pk=cookie.value)
    assert cookie["secure"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == ""
    assert session.expire_date < timezone.now() + timedelta(minutes=31)


@ONE_DATABASE
def test_deactivated_user_is_logged_out_at_once(person):
    client = StaffClient()
    client.post(LOGIN, person)
    User.objects.filter(username="person").update(is_active=False)

    assert client.get(LIST).status_code == 302


@ONE_DATABASE
@pytest.mark.parametrize("url", ["/admin/", LIST, FIND, AUDIT, LOGIN, "/admin/password_change/"])
def test_page_is_not_cached_and_has_no_inline_script(superuser, url):
    response = superuser.get(url)

    policy = response.headers["Content-Security-Policy"]
    assert "no-store" in response.headers["Cache-Control"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert response.headers["X-Frame-Options"] == "DENY"
    assert "<script>" not in text(response)
    assert " onclick=" not in text(response)
    assert " style=" not in text(response)


@ONE_DATABASE
@pytest.mark.parametrize("path", ["admin/css/base.css", "stripe_connections/admin.css"])
def test_style_sheets_are_served(superuser, path):
    response = superuser.get(f"/static/{path}")

    assert response.status_code == 200
    assert b"{" in response.getvalue()


@ONE_DATABASE
def test_post_without_the_csrf_token_is_refused(person):
    client = StaffClient()
    client.handler.enforce_csrf_checks = True

    response = client.post(LOGIN, person)

    assert response.status_code == 403
    assert "Nothing was saved" in response.content.decode()


@ONE_DATABASE
@pytest.mark.parametrize("table", ["", "django_session"])
@pytest.mark.parametrize("error", [OperationalError, read_only])
def test_unavailable_database_is_a_503_page(superuser, table, error):
    def refuse(execute, sql, *args):
        if table in sql:
            raise error("no such host: do not show")
        return execute(sql, *args)

    superuser.raise_request_exception = False
    with database.execute_wrapper(refuse):
        response = superuser.get(LIST)

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert "no-store" in response.headers["Cache-Control"]
    assert "Try again in a moment" in text(response)
    assert "do not show" not in text(response)


@pytest.fixture
def second_factor(settings):
    """The admin with STAFF_SECOND_FACTOR."""
    settings.STAFF_SECOND_FACTOR = True
    importlib.reload(config.urls)
    yield
    admin.site.__class__ = admin.AdminSite
    admin.site.login_form = None


@pytest.fixture
def code(person):
    """The current code of the authenticator app of `person`."""
    device = TOTPDevice.objects.create(user=User.objects.get(username="person"), name="Phone")
    return f"{TOTP(device.bin_key).token():06}"


def log_in_with(code, **person):
    return StaffClient().post(LOGIN, {**person, "otp_token": code, "next": LIST})


@ONE_DATABASE
def test_password_and_code_log_in(person, second_factor, code):
    assert log_in_with(code, **person).headers["Location"] == LIST


@ONE_DATABASE
@pytest.mark.parametrize("given", ["", "000000x"])
def test_password_without_the_code_does_not_log_in(person, second_factor, code, given):
    response = log_in_with(given, **person)

    assert response.status_code == 200
    assert 'name="otp_token"' in text(response)


def test_wrong_code_of_a_clock_that_was_put_back_does_not_close_the_login(
    person, second_factor, code, monkeypatch
):
    ahead = timezone.now() + timedelta(days=3_650)
    TOTPDevice.objects.update(throttling_failure_count=1, throttling_failure_timestamp=ahead)
    assert log_in_with(code, **person).status_code == 200
    later = timezone.now() + timedelta(seconds=2)
    monkeypatch.setattr("django_otp.models.timezone.now", lambda: later)

    assert log_in_with(code, **person).headers["Location"] == LIST


@ONE_DATABASE
def test_page_after_a_wrong_code_does_not_show_the_password(person, second_factor, code):
    page = text(log_in_with("000000x", **person))

    assert "Wrong code" in page
    assert person["password"] not in page


@ONE_DATABASE
def test_user_with_two_devices_can_choose_one(person, second_factor, code):
    second = TOTPDevice.objects.create(user=User.objects.get(username="person"), name="Tablet")
    choice = {"otp_device": second.persistent_id}

    assert "Tablet" in text(log_in_with("000000x", **person))
    opened = log_in_with(f"{TOTP(second.bin_key).token():06}", **person | choice)
    assert opened.headers["Location"] == LIST


@ONE_DATABASE
def test_user_without_a_device_cannot_log_in(person, second_factor):
    assert log_in_with("123456", **person).status_code == 200


@pytest.mark.parametrize("device", ["x", "\0", "auth.user/1", "otp_totp.totpdevice/x"])
def test_unknown_device_is_not_a_server_error(person, second_factor, device):
    assert log_in_with("123456", **person, otp_device=device).status_code == 200


@ONE_DATABASE
@pytest.mark.parametrize("device", ["x", "auth.user/1", "otp_totp.totpdevice/987654321"])
def test_first_device_is_used_without_a_valid_choice(person, second_factor, code, device):
    assert log_in_with(code, **person, otp_device=device).headers["Location"] == LIST


@ONE_DATABASE
def test_code_without_the_password_does_not_log_in(person, second_factor, code):
    assert log_in_with(code, **person | {"password": "wrong"}).status_code == 200


def test_code_cannot_be_used_twice(person, second_factor, code):
    log_in_with(code, **person)

    assert log_in_with(code, **person).status_code == 200


@ONE_DATABASE
def test_page_for_a_missing_permission_explains_it(support):
    response = support.get("/admin/otp_totp/totpdevice/")

    assert response.status_code == 403
    assert "does not have the permission" in text(response)
    assert "Django" not in text(response)


@ONE_DATABASE
def test_session_without_a_code_must_log_in_again(support, second_factor):
    assert support.get(LIST).headers["Location"].startswith(LOGIN)


@ONE_DATABASE
def test_login_needs_no_code_by_default(person):
    assert 'name="otp_token"' not in text(StaffClient().get(LOGIN))


@ONE_DATABASE
@pytest.mark.parametrize(("length", "status"), [(14, 200), (15, 302)])
def test_new_password_needs_fifteen_characters(superuser, length, status):
    password = "Qx7-vR2.kLm9!Zp4w"[:length]
    form = {"username": "new", "usable_password": "true"}
    form |= {"password1": password, "password2": password}

    assert superuser.post("/admin/auth/user/add/", form).status_code == status


@ONE_DATABASE
def test_page_does_not_show_the_secret_of_a_device(superuser, code):
    device = TOTPDevice.objects.get()

    page = text(superuser.get(f"/admin/otp_totp/totpdevice/{device.pk}/change/"))

    assert device.key not in page
