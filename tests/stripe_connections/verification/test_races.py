"""The reply is compared with the row at the time of the write, after the verification."""

import threading

import pytest
from django.contrib.auth.models import User
from django.db import connections

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api import client, verification
from tests.conftest import connections_path, random_api_key
from tests.fake_stripe import OTHER, STORED

NAMED = {"connectionBizId": "sc_abc123"}
ACTOR = Actor(None, Source.COMMAND, "request-1")


@pytest.fixture
def meanwhile(stripe, monkeypatch):
    """Return a function that changes the connection during the next verification."""

    def arrange(connection, **changes):
        verify = verification.verify

        def verify_and_change(*arguments, **options):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("django.conf.settings.STRIPE_VERIFY", False)
                services.update_connection(
                    workspace=connection.workspace,
                    biz_id=connection.biz_id,
                    changes=changes,
                    actor=ACTOR,
                )
            return verify(*arguments, **options)

        monkeypatch.setattr(verification, "verify", verify_and_change)

    return arrange


def read(connection):
    return StripeConnection.objects.defer(None).get(pk=connection.pk)


def test_change_of_another_field_during_verification_is_kept(manager, connection, meanwhile):
    meanwhile(connection, connection_name="By somebody else")

    response = manager.update(NAMED | {"apiKey": random_api_key()})

    assert (response.status_code, response["ETag"]) == (200, '"3"')
    found = read(connection)
    assert found.connection_name == "By somebody else"
    assert found.outcome.verification == "verified"


def test_reply_is_compared_with_an_account_that_changed_during_verification(
    manager, connection, meanwhile
):
    meanwhile(connection, stripe_account_id=OTHER)

    response = manager.update(NAMED | {"apiKey": random_api_key()})

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "account_mismatch"
    assert read(connection).version == 2


def test_mode_is_compared_with_a_key_that_changed_during_verification(
    manager, connection, meanwhile
):
    meanwhile(connection, api_key=random_api_key("sk_test_"))

    response = manager.update(NAMED | {"apiKey": random_api_key()})

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "mode_mismatch"


def test_reply_for_a_key_that_was_replaced_is_ignored(manager, connection, stripe, meanwhile):
    meanwhile(connection, api_key=random_api_key())
    stripe.knows(OTHER)

    assert manager.update(NAMED | {"stripeAccountId": OTHER}).status_code == 200

    assert read(connection).outcome.verification == "unverified"


def test_reply_for_a_key_that_was_replaced_is_503_if_verification_is_required(
    manager, connection, stripe, meanwhile, settings
):
    settings.STRIPE_VERIFY_REQUIRED = True
    meanwhile(connection, api_key=random_api_key())
    stripe.knows(OTHER)

    assert manager.update(NAMED | {"stripeAccountId": OTHER}).status_code == 503
    assert read(connection).stripe_account_id == STORED


def test_if_match_is_checked_after_the_verification(manager, connection, meanwhile):
    meanwhile(connection, connection_name="By somebody else")

    response = manager.update(NAMED | {"apiKey": random_api_key()}, headers={"If-Match": '"1"'})

    assert (response.status_code, response.json()["code"]) == (412, "4120")
    assert read(connection).version == 2


def test_connection_deleted_during_verification_is_404(manager, connection, stripe, monkeypatch):
    verify = verification.verify

    def verify_and_delete(*arguments, **options):
        StripeConnection.objects.all().delete()
        return verify(*arguments, **options)

    monkeypatch.setattr(verification, "verify", verify_and_delete)

    assert manager.update(NAMED | {"apiKey": random_api_key()}).status_code == 404


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("update", NAMED | {"apiKey": random_api_key()}),
        ("create", {"connectionName": "New", "apiKey": random_api_key()}),
        ("verify", NAMED),
    ],
)
def test_user_deleted_during_verification_is_401(
    manager, connection, stripe, monkeypatch, call, body
):
    verify = verification.verify

    def verify_and_delete(*arguments, **options):
        User.objects.all().delete()
        return verify(*arguments, **options)

    monkeypatch.setattr(verification, "verify", verify_and_delete)

    response = manager.post(f"{connections_path()}/{call}", body, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (401, "4010")
    assert response["WWW-Authenticate"] == "Bearer"
    assert (read(connection).version, StripeConnection.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_during_the_verification(manager, connection, transactions):
    assert manager.update(NAMED | {"apiKey": random_api_key()}).status_code == 200
    assert transactions == [False]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
class TestTwoAtOnce:
    def test_call_that_waits_for_stripe_does_not_block_another(self, stripe, request, monkeypatch):
        # Longer than the wait for a lock.
        monkeypatch.setattr(client, "READ_SECONDS", 120)
        monkeypatch.setattr(verification, "DEADLINE_SECONDS", 120)
        manager = request.getfixturevalue("manager")
        connection = request.getfixturevalue("connection")
        asked, may_answer = threading.Event(), threading.Event()
        knows = stripe.answer

        def answer(handler):
            asked.set()
            may_answer.wait(120)
            knows(handler)

        stripe.answer = answer
        statuses = []

        def replace_key():
            body = NAMED | {"apiKey": random_api_key()}
            statuses.append(manager.update(body).status_code)
            connections.close_all()

        thread = threading.Thread(target=replace_key)
        thread.start()
        assert asked.wait(120)
        statuses.append(manager.update(NAMED | {"connectionName": "Meanwhile"}).status_code)
        may_answer.set()
        thread.join()

        assert statuses == [200, 200]
        assert read(connection).connection_name == "Meanwhile"
        assert read(connection).version == 3
