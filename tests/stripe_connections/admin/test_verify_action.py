"""The action "Verify with Stripe" for several connections."""

import pytest
from django.conf import settings as django_settings

from stripe_connections.admin import actions
from stripe_connections.models import StripeConnection
from tests.conftest import outcome_of
from tests.fake_stripe import STORED
from tests.stripe_connections.admin.conftest import LIST, messages, text

PERMISSION = "rak_accounts_kyc_basic_read"
ONE_DATABASE = pytest.mark.only_on(
    "sqlite", reason="tests/stripe_connections/verification/ runs on both"
)


@pytest.fixture
def limit(settings, stripe):
    """Allow one verification per day."""
    settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {
        "DEFAULT_THROTTLE_RATES": {"stripe": "1/day"}
    }


@ONE_DATABASE
class TestAction:
    @pytest.mark.parametrize(
        ("how", "message", "outcome"),
        [
            (("knows", STORED), "1 connection verified.", "verified"),
            (
                ("fails", 403, PERMISSION),
                "1 connection restricted.",
                "restricted",
            ),
            (
                ("rejects",),
                "1 connection rejected: sc_abc123 (rejected).",
                "rejected",
            ),
            (
                ("fails", 503),
                "1 failed: sc_abc123 (Stripe failed: verify again later).",
                "unverified",
            ),
        ],
    )
    def test_outcome_is_stored_and_shown(self, staff, connection, stripe, how, message, outcome):
        name, *arguments = how
        getattr(stripe, name)(*arguments)

        response = staff.act("verify", connection)

        assert messages(response) == [message]
        assert outcome_of(connection).verification == outcome
        assert StripeConnection.objects.get().version == 1

    def test_connection_without_a_key_is_reported(self, staff, connection, workspace, stripe):
        empty = StripeConnection.objects.create(
            workspace=workspace, biz_id="sc_empty", connection_name="Empty"
        )

        response = staff.act("verify", connection, empty)

        assert messages(response) == [
            ("1 connection verified, 1 failed: sc_empty (The connection has no API key).")
        ]

    def test_attempts_are_limited(self, staff, connection, workspace, make_connection, limit):
        other = make_connection(workspace, "sc_z")

        response = staff.act("verify", connection, other)

        assert messages(response)[0].endswith("1 failed: sc_abc123 (too many requests).")
        assert outcome_of(other).verification == "verified"

    def test_too_many_at_once_are_refused(self, staff, connection, workspace, stripe, monkeypatch):
        monkeypatch.setattr(actions, "MAX_VERIFIED", 1)
        other = StripeConnection.objects.create(workspace=workspace, connection_name="Other")

        response = staff.act("verify", connection, other)

        assert messages(response) == ["At most 1 connections at once; none was verified."]
        assert stripe.requests == []

    def test_verification_ends_before_the_timeout_of_the_proxy(
        self, staff, connection, stripe, monkeypatch
    ):
        times = iter([0, actions.VERIFYING_SECONDS + 1])
        monkeypatch.setattr(actions, "monotonic", lambda: next(times))

        response = staff.act("verify", connection)

        assert "1 failed: sc_abc123 (Stripe did not answer" in messages(response)[0]
        assert stripe.requests == []

    def test_action_is_not_offered_if_verification_is_off(self, staff, connection, fake_stripe):
        page = text(staff.get(LIST))

        response = staff.act("verify", connection)

        assert "Verify with Stripe" not in page
        assert messages(response) == ["No action selected."]
        assert fake_stripe.requests == []

    def test_viewer_cannot_verify(self, support, connection, stripe):
        assert messages(support.act("verify", connection)) == ["No action selected."]
        assert stripe.requests == []


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_during_the_action(transactions, staff, connection):
    staff.act("verify", connection)

    assert transactions == [False]
