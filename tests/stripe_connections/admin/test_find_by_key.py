"""Finding the connection with a leaked key, without keeping the key anywhere."""

import logging

import pytest
from cryptography.fernet import Fernet

from stripe_connections.models import StripeConnection
from tests.conftest import plain, random_api_key
from tests.stripe_connections.admin.conftest import FIND, LIST, change_url, text

ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the page")


@pytest.fixture
def leaked(connection):
    return StripeConnection.objects.defer(None).get(pk=connection.pk)


@pytest.mark.parametrize("name", ["api_key", "webhook_secret"])
def test_connection_is_found(staff, leaked, name):
    page = text(staff.post(FIND, {"secret": f" {plain(leaked, name)}\n"}))

    assert change_url(leaked) in page
    assert "sc_abc123" in page


def test_connection_is_found_under_an_older_key(staff, leaked, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]

    assert "sc_abc123" in text(staff.post(FIND, {"secret": plain(leaked, "api_key")}))


@ONE_DATABASE
def test_unknown_key_is_not_found(staff, leaked):
    page = text(staff.post(FIND, {"secret": random_api_key()}))

    assert "No connection has this secret." in page
    assert "sc_abc123" not in page


@ONE_DATABASE
@pytest.mark.parametrize("secret", ["", "  "])
def test_empty_input_is_an_error(staff, leaked, secret):
    page = text(staff.post(FIND, {"secret": secret}))

    assert "This field is required." in page
    assert "sc_abc123" not in page


@ONE_DATABASE
def test_typed_key_is_in_no_page_header_session_or_log(staff, leaked, caplog):
    caplog.set_level(logging.DEBUG)

    found = staff.post(FIND, {"secret": plain(leaked, "api_key")})
    after = staff.get(LIST)

    assert plain(leaked, "api_key") not in text(found) + text(after) + caplog.text
    assert plain(leaked, "api_key") not in str(dict(staff.session.items()))


@ONE_DATABASE
def test_key_in_the_query_string_finds_nothing(staff, leaked):
    page = text(staff.get(FIND, {"secret": plain(leaked, "api_key")}))

    assert "sc_abc123" not in page
    assert plain(leaked, "api_key") not in page
