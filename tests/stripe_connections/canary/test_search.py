"""The search for canaries finds each secret that is leaked on purpose."""

import logging
import sys

import pytest
from django.views.debug import SafeExceptionReporterFilter

from tests.stripe_connections.canary.conftest import described, error_page, secret_body

pytestmark = pytest.mark.django_db
OUTPUT = pytest.mark.only_on("sqlite", reason="the output does not depend on the database")


def test_secret_in_a_plain_field_is_found_in_every_sink(client, canaries, look_everywhere):
    response = client.update(secret_body(canaries, connectionName=canaries.planted["apiKey"]))

    assert response.status_code == 200
    assert look_everywhere(response) == {
        (where, "apiKey") for where in ("response", "log", "written log", "audit", "database")
    }


@pytest.mark.parametrize("part", [slice(None, 28), slice(28, None)], ids=["first", "second"])
def test_half_a_secret_is_found(client, canaries, look_everywhere, part):
    half = canaries.planted["apiKey"][part]
    client.update({"connectionBizId": "sc_abc123", "connectionName": half})

    assert ("database", "apiKey") in look_everywhere()


@OUTPUT
@pytest.mark.parametrize("name", ["password", "portal code", "signing key", "first Fernet key"])
def test_any_secret_is_found_in_a_log_line(canaries, look_everywhere, name):
    logging.getLogger("anybody").debug("it is %s", canaries.planted[name])

    assert look_everywhere() >= {("log", name), ("written log", name)}


@OUTPUT
def test_secret_that_is_printed_is_found(canaries, look_everywhere):
    sys.stderr.write(canaries.planted["password"])
    sys.stderr.flush()

    assert look_everywhere() == {("output", "password")}


@OUTPUT
def test_secret_in_an_exception_of_the_chain_is_found(canaries):
    error = ValueError("harmless")
    error.__context__ = KeyError(canaries.planted["apiKey"])
    error.__suppress_context__ = True
    canaries.collect("exception", *described(error))

    assert canaries.found() == {("exception", "apiKey")}


@OUTPUT
@pytest.mark.parametrize("render", ["get_traceback_html", "get_traceback_text"])
def test_secrets_in_a_page_with_djangos_own_filter_are_found(canaries, settings, render):
    settings.DEBUG = True
    default_filter = SafeExceptionReporterFilter()
    page = error_page(canaries, render, exception_reporter_filter=default_filter)
    canaries.collect("page", page)

    assert {name for _, name in canaries.found()} >= {"apiKey", "portal code"}
