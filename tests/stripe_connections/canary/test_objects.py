"""Exceptions, printed objects and Django's error pages show no secret."""

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.serializers import serialize
from django.db import IntegrityError

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections import services
from stripe_connections.api.serializers import UpdateConnectionSerializer
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.fields import UndecryptableSecretError
from stripe_connections.secrets.keyring import keyring
from stripe_connections.validation.fields import validate_api_key
from tests.conftest import plain
from tests.stripe_connections.canary.conftest import crash_of, described, error_page, secret_body
from workspaces.serializers import CredentialsSerializer

pytestmark = pytest.mark.django_db
OUTPUT = pytest.mark.only_on("sqlite", reason="the text does not depend on the database")


FAILURES = {
    "no text": (
        TypeError,
        lambda planted: StripeConnection.objects.update(api_key=planted["apiKey"].encode()),
    ),
    "no hint": (TypeError, lambda planted: hint_of(planted["apiKey"].encode())),
    "no instance": (
        TypeError,
        lambda planted: StripeConnection.objects.update(api_key=planted["apiKey"]),
    ),
    "no fixture": (TypeError, lambda _: serialize("json", StripeConnection.objects.all())),
    "undecryptable": (
        UndecryptableSecretError,
        lambda _: plain(StripeConnection.objects.get(), "api_key"),
    ),
    "constraint": (
        IntegrityError,
        lambda planted: services.update_connection(
            workspace=StripeConnection.objects.get().workspace,
            biz_id="sc_abc123",
            changes={"api_key": planted["apiKey"], "status": 7},
            actor=Actor(None, Source.COMMAND),
        ),
    ),
    "validator": (ValidationError, lambda planted: validate_api_key(planted["webhookSecret"])),
    "serializer": (
        InvalidFieldsError,
        lambda planted: UpdateConnectionSerializer(
            data={"apiKey": planted["webhookSecret"], planted["apiKey"]: 1}
        ).is_valid(raise_exception=True),
    ),
}


@pytest.mark.parametrize(("kind", "call"), FAILURES.values(), ids=FAILURES)
def test_exception_and_its_chain_show_no_secret(canaries, settings, kind, call):
    # With only this key, no stored secret can be decrypted.
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]
    error = crash_of(lambda: call(canaries.planted))
    canaries.collect("exception", *described(error))

    assert isinstance(error, kind)
    assert canaries.found() == set()


@OUTPUT
def test_objects_show_no_secret_when_printed(canaries, workspace):
    user = User.objects.get(username="canary")
    connection = StripeConnection.objects.defer(None).get()
    assert plain(connection, "api_key") == canaries.planted["apiKey"]
    body = UpdateConnectionSerializer(data=secret_body(canaries))
    assert body.is_valid()
    login = CredentialsSerializer(
        data={"username": "canary", "password": canaries.planted["password"]}
    )
    assert login.is_valid()
    things = [
        connection,
        StripeConnection.objects.all(),
        connection.api_key,
        StripeConnection.objects.values("api_key", "webhook_secret"),
        keyring().keys,
        Actor(user, Source.API, "request-1"),
        keyring(),
        body,
        body.fields,
        login,
        login.fields,
        user,
    ]
    canaries.collect("print", *map(str, things), *map(repr, things))

    assert canaries.found() == set()


@OUTPUT
@pytest.mark.parametrize("render", ["get_traceback_html", "get_traceback_text"])
@pytest.mark.parametrize("debug", [True, False])
def test_error_page_shows_no_secret(canaries, settings, render, debug):
    settings.DEBUG = debug
    page = error_page(canaries, render)
    canaries.collect("page", page)

    assert "boom" in page
    assert canaries.found() == set()
