"""The admin shows the result of the last verification in the list and in the form."""

from datetime import UTC, datetime

import pytest

from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.replies import Cause
from tests.fake_stripe import OTHER, STORED
from tests.stripe_connections.admin.conftest import LIST, change_url, text

VERIFIED_AT = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
PERMISSION = "rak_accounts_kyc_basic_read"
OUTCOMES = ["verified", "restricted", "rejected", "unverified"]
ONE_DATABASE = pytest.mark.only_on(
    "sqlite", reason="tests/stripe_connections/verification/ runs on both"
)


def say(connection, verification, **columns):
    """Store the result of a verification."""
    StripeConnection.objects.filter(pk=connection.pk).update(
        verification=verification,
        verification_at=VERIFIED_AT,
        **columns,
    )


def listed(client, **query):
    return [row.biz_id for row in client.peek(LIST, query)["cl"].result_list]


@pytest.fixture
def one_of_each(workspace, make_connection):
    """Connections with the name of their verification result."""
    columns = {
        "verified": {"verification_account_id": STORED},
        "restricted": {"missing_permission": PERMISSION},
    }
    for name in OUTCOMES:
        say(make_connection(workspace, f"sc_{name}"), name, **columns.get(name, {}))


class TestList:
    @ONE_DATABASE
    @pytest.mark.parametrize(
        ("outcome", "columns", "hover"),
        [
            ("verified", {"verification_account_id": STORED}, f", belongs to {STORED}"),
            ("restricted", {"missing_permission": PERMISSION}, f", lacks {PERMISSION}"),
            ("rejected", {"verification_account_id": OTHER}, f", belongs to {OTHER}"),
            ("rejected", {}, ""),
            ("unverified", {}, ""),
        ],
    )
    def test_outcome_is_a_badge(self, staff, connection, outcome, columns, hover):
        say(connection, outcome, **columns)

        page = text(staff.get(LIST))

        assert (
            f'<span class="badge {outcome}" title="verified 2026-11-01 12:30:00 UTC{hover}">'
            f"{outcome}</span>"
        ) in page

    def test_list_can_be_filtered_by_outcome(self, staff, one_of_each):
        found = {outcome: listed(staff, verification__exact=outcome) for outcome in OUTCOMES}

        assert found == {outcome: [f"sc_{outcome}"] for outcome in OUTCOMES}

    def test_connection_is_unverified_before_its_first_verification(self, staff, connection):
        assert 'class="badge unverified" title=""' in text(staff.get(LIST))
        assert listed(staff, verification__exact="unverified") == ["sc_abc123"]

    def test_unknown_outcome_finds_nothing(self, staff, connection):
        assert listed(staff, verification__exact="x") == []


@ONE_DATABASE
class TestShownInForm:
    def test_outcome_is_shown_with_its_details(self, support, connection):
        columns = {"verification_account_id": STORED, "missing_permission": PERMISSION}
        say(connection, "restricted", **columns)

        page = text(support.get(change_url(connection)))

        for shown in ("badge restricted", "Verified 2026-11-01 12:30:00 UTC", STORED, PERMISSION):
            assert shown in page

    @pytest.mark.parametrize(
        ("columns", "reason"),
        [
            (
                {"verification_account_id": OTHER, "verification_cause": "mismatch"},
                "The key belongs to another account",
            ),
            ({"verification_cause": "expired"}, "The key has expired"),
        ],
    )
    def test_rejected_key_is_explained(self, staff, connection, columns, reason):
        say(connection, "rejected", **columns)

        assert reason in text(staff.get(change_url(connection)))

    def test_key_without_a_verification_has_no_date(self, staff, connection):
        page = text(staff.get(change_url(connection)))

        assert "badge unverified" in page
        assert "Verified 2" not in page

    def test_key_without_a_reply_has_a_date_and_a_cause(self, staff, connection):
        say(connection, "unverified", verification_cause="unreachable")

        page = text(staff.get(change_url(connection)))

        assert "Verified 2026-11-01 12:30:00 UTC" in page
        assert Cause.UNREACHABLE.label in page
