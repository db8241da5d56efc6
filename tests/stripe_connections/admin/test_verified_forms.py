"""A form of the admin verifies a new key or account before it is saved."""

import pytest
from auditlog.models import LogEntry
from django.conf import settings as django_settings
from django.test import Client

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Cause
from tests.conftest import known_of, outcome_of, plain, random_api_key, random_webhook_secret
from tests.fake_stripe import OTHER, STORED
from tests.stripe_connections.admin.conftest import (
    ADD,
    AUDIT,
    LIST,
    change_url,
    history_url,
    messages,
    text,
)

AGAIN = (
    "It was not saved, and a page never shows a secret: type it again or select the checkbox below."
)
ONE_DATABASE = pytest.mark.only_on(
    "sqlite", reason="tests/stripe_connections/verification/ runs on both"
)


def errors(response):
    """Return the errors of the form, by field."""
    assert response.status_code == 200
    return response.context_data["adminform"].form.errors


@pytest.fixture
def limit(settings, stripe):
    """Allow one verification per day."""
    settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {
        "DEFAULT_THROTTLE_RATES": {"stripe": "1/day"}
    }


@pytest.fixture
def adding(workspace):
    """Return a function that builds the data of the form to add a connection."""

    def form(**values):
        return {"workspace": workspace.pk, "connection_name": "New", "status": "1"} | values

    return form


@ONE_DATABASE
class TestChange:
    def test_new_key_is_verified_once_and_saved(self, staff, connection, stripe):
        key = random_api_key()

        response = staff.save(change_url(connection), api_key=f" {key} ")

        assert response.status_code == 302
        assert stripe.keys == [key]
        assert known_of(connection) == ("verified", STORED)
        record = LogEntry.objects.get()
        assert record.changes["verification"] == ["unverified", "verified"]
        assert record.additional_data["source"] == "admin"

    def test_new_account_is_verified_with_the_stored_key(self, colleague, connection, stripe):
        stripe.knows(OTHER)
        stored_key = plain(StripeConnection.objects.defer(None).get(), "api_key")

        response = colleague.save(change_url(connection), stripe_account_id=OTHER)

        assert response.status_code == 302
        assert stripe.keys == [stored_key]
        assert known_of(connection) == ("verified", OTHER)

    @pytest.mark.parametrize(
        "changes",
        [
            {"connection_name": "New"},
            {"webhook_secret": random_webhook_secret()},
            {"stripe_account_id": ""},
        ],
    )
    def test_other_changes_are_not_verified(self, staff, connection, stripe, changes):
        assert staff.save(change_url(connection), **changes).status_code == 302

        assert stripe.requests == []

    def test_rejected_key_is_an_error_of_its_field(self, staff, connection, stripe, stored):
        stripe.rejects()
        before, key = stored(connection), random_api_key()

        response = staff.save(change_url(connection), api_key=key, connection_name="Kept")

        assert errors(response) == {"api_key": [Cause.NOT_ACCEPTED.label]}
        assert stored(connection) == before
        assert key not in text(response)
        assert 'value="Kept"' in text(response)
        assert not LogEntry.objects.exists()

    @pytest.mark.parametrize("changes", [{}, {"stripe_account_id": "acct_typed"}])
    def test_key_of_another_account_is_an_error_with_both_ids(
        self, unrendered, staff, connection, stripe, stored, changes
    ):
        stripe.knows(OTHER)
        before = stored(connection)

        response = staff.save(change_url(connection), api_key=random_api_key(), **changes)

        account_id = changes.get("stripe_account_id", STORED)
        assert errors(response) == {
            "stripe_account_id": [f"The API key belongs to {OTHER}, not to {account_id}."],
            "api_key": [AGAIN],
        }
        assert stored(connection) == before

    @pytest.mark.parametrize("person", ["staff", "colleague"])
    def test_rejected_stored_key_is_an_error_of_the_account_field(
        self, unrendered, request, connection, stripe, stored, person
    ):
        stripe.rejects()
        before = stored(connection)

        client = request.getfixturevalue(person)
        response = client.save(change_url(connection), stripe_account_id=OTHER)

        (message,) = errors(response)["stripe_account_id"]
        assert "Stripe rejects the stored API key" in message
        assert len(errors(response)) == 1
        assert stored(connection) == before

    def test_key_without_a_reply_is_saved_as_unverified_with_a_message(
        self, staff, connection, stripe
    ):
        stripe.fails(503)

        response = staff.save(change_url(connection), api_key=random_api_key())

        assert outcome_of(connection).verification == "unverified"
        assert Cause.STRIPE_ERROR.label in messages(response)[0]

    def test_verified_key_that_is_typed_again_stays_verified(self, staff, connection, stripe):
        key = random_api_key()
        staff.save(change_url(connection), api_key=key)
        stripe.fails(503)

        response = staff.save(change_url(connection), api_key=key)

        assert outcome_of(connection).verification == "verified"
        assert [m for m in messages(response) if "could not be checked" in m] == []

    def test_key_without_a_reply_is_not_saved_if_verification_is_required(
        self, staff, connection, stripe, settings, stored
    ):
        settings.STRIPE_VERIFY_REQUIRED = True
        stripe.fails(503)
        before, key = stored(connection), random_api_key()

        response = staff.save(change_url(connection), api_key=key)

        (message,) = errors(response)["__all__"]
        assert message.startswith("The key could not be checked, so nothing was saved.")
        assert stored(connection) == before
        assert key not in text(response)

    def test_too_many_attempts_are_an_error(self, staff, connection, limit, stripe, stored):
        staff.save(change_url(connection), api_key=random_api_key())
        before, key = stored(connection), random_api_key()

        response = staff.save(change_url(connection), api_key=key)

        (message,) = errors(response)["__all__"]
        assert message.startswith("Too many requests to Stripe")
        assert stored(connection) == before
        assert len(stripe.requests) == 1
        assert key not in text(response)

    @pytest.mark.parametrize(
        "typed", [{"config_json": "["}, {"api_key": "nonsense"}, {"seen_version": "7"}]
    )
    def test_invalid_form_is_not_verified(
        self, unrendered, staff, connection, stripe, stored, typed
    ):
        before = stored(connection)

        response = staff.save(change_url(connection), **({"api_key": random_api_key()} | typed))

        assert errors(response)
        assert stripe.requests == []
        assert stored(connection) == before

    @pytest.mark.parametrize(
        ("person", "typed"),
        [
            ("support", {"stripe_account_id": OTHER}),
            ("support", {"api_key": random_api_key()}),
            ("colleague", {"api_key": random_api_key()}),
        ],
    )
    def test_form_of_a_user_who_may_not_save_is_not_verified(
        self, request, staff, connection, stripe, stored, person, typed
    ):
        before = stored(connection)
        form = staff.form(change_url(connection))

        response = request.getfixturevalue(person).post(change_url(connection), form | typed)

        assert response.status_code == 403
        assert stripe.requests == []
        assert stored(connection) == before

    def test_form_without_the_csrf_token_is_not_verified(self, staff, connection, stripe, stored):
        before = stored(connection)
        form = staff.form(change_url(connection)) | {"api_key": random_api_key()}
        browser = Client(enforce_csrf_checks=True, headers={"X-Forwarded-Proto": "https"})
        browser.cookies = staff.cookies

        response = browser.post(change_url(connection), form)

        assert response.status_code == 403
        assert stripe.requests == []
        assert stored(connection) == before

    @pytest.mark.parametrize("key", ["0", "x", "9" * 40])
    def test_missing_connection_is_not_verified(self, staff, connection, stripe, key):
        form = staff.form(change_url(connection)) | {"api_key": random_api_key()}

        assert staff.post(f"{LIST}{key}/change/", form).status_code == 302
        assert stripe.requests == []

    def test_row_that_changes_during_the_verification_is_not_overwritten(
        self, staff, connection, stripe, monkeypatch
    ):
        verify = verification.verify

        def change_and_verify(*arguments, **options):
            services.update_connection(
                workspace=connection.workspace,
                biz_id=connection.biz_id,
                changes={"connection_name": "Meanwhile"},
                actor=Actor(None, Source.API),
            )
            return verify(*arguments, **options)

        monkeypatch.setattr(verification, "verify", change_and_verify)

        response = staff.save(change_url(connection), api_key=random_api_key())

        assert "Somebody else changed this connection" in text(response)
        connection.refresh_from_db()
        assert (connection.connection_name, connection.version) == ("Meanwhile", 2)
        assert connection.outcome.verification == "unverified"

    def test_nothing_is_sent_if_verification_is_off(self, staff, connection, fake_stripe):
        typed = {"api_key": random_api_key(), "stripe_account_id": OTHER}

        assert staff.save(change_url(connection), **typed).status_code == 302

        assert fake_stripe.requests == []
        assert outcome_of(connection).at is None

    def test_history_shows_the_outcome(self, staff, connection, stripe):
        staff.save(change_url(connection), api_key=random_api_key())

        staff.save(change_url(connection), connection_name="New")
        found = staff.peek(AUDIT, {"field": "verification"})["cl"].result_list
        page = text(staff.get(history_url(connection)))

        assert [record.additional_data["version"] for record in found] == [2]
        assert "<dt>Verification</dt>" in page
        assert '<span class="old">unverified</span> → <span class="new">verified</span>' in page


@ONE_DATABASE
class TestSwappedMode:
    def test_swap_is_refused_without_confirmation(self, staff, connection, stripe, stored):
        before, key = stored(connection), random_api_key("sk_test_")

        response = staff.save(change_url(connection), api_key=key)

        (message,) = errors(response)["api_key"]
        assert message.startswith("The stored key is a live key and this one a test key.")
        assert 'type="checkbox" name="allow_mode_change"' in text(response)
        assert "Allow the change between live and test mode" in text(response)
        assert key not in text(response)
        assert stored(connection) == before
        assert stripe.requests == []

    def test_confirmed_swap_is_verified_and_saved(self, staff, connection, stripe):
        key = random_api_key("sk_test_")

        response = staff.save(change_url(connection), api_key=key, allow_mode_change="on")

        assert response.status_code == 302
        assert stripe.keys == [key]
        saved = StripeConnection.objects.get(pk=connection.pk)
        assert (saved.mode, saved.outcome.verification) == ("test", "verified")

    def test_confirming_the_swap_confirms_nothing_else(self, staff, connection, stripe, stored):
        stripe.rejects()
        before, key = stored(connection), random_api_key("sk_test_")

        response = staff.save(change_url(connection), api_key=key, allow_mode_change="on")

        assert list(errors(response)) == ["api_key"]
        assert stored(connection) == before
        # It must be confirmed again.
        assert 'type="checkbox" name="allow_mode_change"' in text(response)

    def test_box_is_not_shown_before_an_error(self, staff, connection, stripe):
        page = text(staff.get(change_url(connection)))

        assert 'type="checkbox" name="allow_mode_change"' not in page

    def test_box_is_not_shown_for_another_error(self, staff, connection, stripe):
        page = text(staff.save(change_url(connection), api_key="nonsense"))

        assert 'type="checkbox" name="allow_mode_change"' not in page


@ONE_DATABASE
class TestAdd:
    def test_key_of_a_new_connection_is_verified_once(self, staff, adding, stripe):
        key = random_api_key()

        response = staff.post(ADD, adding(api_key=key))

        assert response.status_code == 302
        assert stripe.keys == [key]
        saved = StripeConnection.objects.get()
        assert (saved.outcome.verification, saved.outcome.account_id) == ("verified", STORED)

    @pytest.mark.parametrize(
        ("answer", "fields"),
        [(("rejects",), ["api_key"]), (("knows", STORED), ["stripe_account_id", "api_key"])],
    )
    def test_bad_key_adds_nothing(self, unrendered, staff, adding, stripe, answer, fields):
        name, *arguments = answer
        getattr(stripe, name)(*arguments)

        response = staff.post(ADD, adding(api_key=random_api_key(), stripe_account_id=OTHER))

        assert list(errors(response)) == fields
        assert not StripeConnection.objects.exists()
        assert not LogEntry.objects.exists()

    def test_attempts_are_counted_for_the_workspace(self, unrendered, staff, adding, stripe, limit):
        staff.post(ADD, adding(api_key=random_api_key()))

        response = staff.post(ADD, adding(api_key=random_api_key()))

        assert list(errors(response)) == ["__all__", "api_key"]
        assert StripeConnection.objects.count() == len(stripe.requests) == 1

    def test_user_who_may_not_add_sends_no_request(self, support, adding, stripe):
        assert support.post(ADD, adding(stripe_account_id=OTHER)).status_code == 403
        assert stripe.requests == []

    def test_bad_connection_is_not_verified(self, unrendered, staff, adding, stripe):
        response = staff.post(ADD, adding(api_key=random_api_key(), workspace=""))

        assert list(errors(response)) == ["workspace", "api_key"]
        assert stripe.requests == []


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_change_is_verified(transactions, staff, connection):
    staff.save(change_url(connection), api_key=random_api_key())

    assert transactions == [False]
    assert outcome_of(connection).verification == "verified"


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_new_one_is_verified(transactions, staff, adding):
    staff.post(ADD, adding(api_key=random_api_key()))

    assert transactions == [False]
