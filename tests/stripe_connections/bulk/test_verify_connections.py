"""`verify_connections` verifies each stored key once, slowly, and stores only the result."""

import threading
from datetime import timedelta

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.bulk import verifier
from stripe_connections.models import VERIFICATION_FIELDS, StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Cause, Reply
from tests.conftest import plain, random_api_key, set_columns
from tests.fake_stripe import OTHER, STORED
from tests.stripe_connections.bulk.conftest import Holder, run

ACTOR = Actor(None, Source.COMMAND, "test")
CLOCK = pytest.mark.only_on("sqlite", reason="the rate of requests does not depend on the database")


class Clock:
    """A clock that advances only during `sleep`."""

    def __init__(self):
        self.now = 1_000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(verifier, "monotonic", clock.monotonic)
    monkeypatch.setattr(verifier, "sleep", clock.sleep)
    return clock


@pytest.fixture
def three(workspace, make_connection):
    """Connections with three accounts; in the fake Stripe, every key belongs to the first."""
    accounts = (STORED, "acct_2", None)
    return [
        make_connection(workspace, f"sc_{number}", stripe_account_id=account_id)
        for number, account_id in enumerate(accounts)
    ]


def outcomes():
    rows = StripeConnection.objects.order_by("pk")
    return [row.outcome.verification for row in rows]


def verify(*arguments):
    return run("verify_connections", "--apply", *arguments)


def test_every_key_is_verified_and_the_result_stored(three, stripe):
    result = verify()

    assert sorted(stripe.keys) == sorted(
        plain(one, "api_key") for one in StripeConnection.objects.all()
    )
    assert outcomes() == ["verified", "rejected", "verified"]
    assert (result.code, result.counts) == (1, (2, 0, 0, 1))
    assert result.json["outcomes"] == {
        "verified": 2,
        "rejected": 1,
        "restricted": 0,
        "unverified": 0,
    }
    assert result.json["rows"] == [
        {
            "outcome": "changed",
            "bizId": "sc_0",
            "changes": {"verification": ["unverified", "verified"]},
        },
        {
            "outcome": "failed",
            "bizId": "sc_1",
            "error": f"The API key belongs to {STORED}, not to acct_2.",
        },
        {
            "outcome": "changed",
            "bizId": "sc_2",
            "changes": {"verification": ["unverified", "verified"]},
        },
    ]


def test_only_the_result_is_written(connection, stripe, stored):
    before = stored(connection)
    stripe.rejects()

    result = verify()

    after = stored(connection)
    assert {name for name in after if after[name] != before[name]} <= set(VERIFICATION_FIELDS)
    assert (result.code, outcomes()) == (1, ["rejected"])
    assert result.json["rows"][0]["error"] == Cause.NOT_ACCEPTED.label


def test_dry_run_sends_no_request_and_counts(three, stripe, stored):
    verify("--account", STORED)
    before = [stored(connection) for connection in three]

    result = run("verify_connections", "--format", "text")

    assert (result.code, len(stripe.requests)) == (0, 1)
    assert "Requests to Stripe: 2." in result.out
    assert run("verify_connections").json["toVerify"] == 2
    assert [stored(connection) for connection in three] == before


def test_restricted_key_is_not_a_failure(connection, stripe):
    stripe.fails(403, "'rak_balance_read'")

    result = verify()

    assert (result.code, result.counts) == (0, (1, 0, 0, 0))
    assert StripeConnection.objects.get().outcome.missing_permission == "rak_balance_read"


def test_missing_reply_fails_and_keeps_the_stored_result(connection, stripe, stored):
    verify()
    before = stored(connection)
    stripe.fails(503)

    result = verify("--max-age", "0")

    assert (result.code, result.counts) == (1, (0, 0, 0, 1))
    assert result.json["rows"][0]["error"] == Cause.STRIPE_ERROR.label
    assert result.json["outcomes"]["unverified"] == 1
    assert stored(connection) == before


def test_key_without_a_reply_is_verified_in_the_next_run(connection, stripe, stored):
    before = stored(connection)
    stripe.fails(503)
    verify()
    assert stored(connection) == before
    stripe.knows(STORED)

    assert verify().counts == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("age", "arguments", "is_verified"),
    [
        (timedelta(hours=23), (), False),
        (timedelta(hours=25), (), True),
        (timedelta(hours=1), ("--max-age", "0.5"), True),
        (timedelta(hours=1), ("--max-age", "2"), False),
        (timedelta(), ("--max-age", "0"), True),
        # The clock was ahead, and was put back.
        (-timedelta(days=365), (), True),
    ],
)
def test_recent_result_is_not_verified_again(connection, stripe, age, arguments, is_verified):
    verify()
    StripeConnection.objects.update(verification_at=timezone.now() - age)

    result = verify(*arguments)

    assert len(stripe.requests) == 1 + is_verified
    assert result.counts == ((0, 1, 0, 0) if is_verified else (0, 0, 1, 0))


def test_recently_rejected_key_fails_without_a_request(connection, stripe):
    stripe.rejects()
    verify()

    result = verify()

    assert (result.code, result.counts, len(stripe.requests)) == (1, (0, 0, 0, 1), 1)
    assert result.json["rows"][0]["error"] == Cause.NOT_ACCEPTED.label


def test_new_key_is_verified_even_if_the_old_one_was_verified_recently(connection, stripe):
    verify()
    services.update_connection(
        workspace=connection.workspace,
        biz_id=connection.biz_id,
        changes={"api_key": random_api_key()},
        actor=ACTOR,
        reply=Reply(),
    )

    assert verify().counts == (1, 0, 0, 0)
    assert len(stripe.requests) == 2


def test_connection_without_a_key_is_skipped(workspace, stripe):
    StripeConnection.objects.create(workspace=workspace, connection_name="Empty")

    assert verify().counts == (0, 0, 1, 0)
    assert stripe.requests == []


def test_unreadable_key_fails_and_the_others_are_verified(three, stripe):
    set_columns(three[1], api_key=b"damaged")

    result = verify()

    assert result.counts == (2, 0, 0, 1)
    assert result.json["rows"][1]["error"] == "The stored API key cannot be read."


def test_same_key_is_verified_once_for_each_account(three, stripe):
    secret = random_api_key()
    for connection in three:
        connection.replace_secret("api_key", secret)
        connection.save()

    result = verify()

    assert stripe.keys == [secret] * 3
    assert result.counts == (2, 0, 0, 1)
    assert outcomes() == ["verified", "rejected", "verified"]


def test_key_of_an_organization_is_verified_for_each_account(three, stripe):
    secret = random_api_key("sk_org_live_")
    for connection in three:
        connection.replace_secret("api_key", secret)
        connection.save()

    result = verify()

    contexts = [headers["Stripe-Context"] for _, headers in stripe.requests]
    assert sorted(contexts) == sorted([STORED, "acct_2"])
    needs_account = "An organization key can only be verified together with a Stripe account ID."
    assert ["sc_2", needs_account] in [
        [row["bizId"], row.get("error")] for row in result.json["rows"]
    ]
    assert result.json["outcomes"] == {
        "verified": 1,
        "rejected": 1,
        "restricted": 0,
        "unverified": 0,
    }


@CLOCK
@pytest.mark.parametrize(("rate", "seconds"), [("10", 0.2), ("0.1", 20.0)])
def test_requests_do_not_exceed_the_rate(three, stripe, clock, rate, seconds):
    verify("--rate", rate)

    assert clock.now - 1_000 == pytest.approx(seconds)


@CLOCK
def test_each_account_gets_one_request_per_second(
    workspace, other_workspace, make_connection, stripe, clock
):
    for _ in range(3):
        make_connection(workspace)
    make_connection(other_workspace)
    make_connection(workspace, stripe_account_id=OTHER)

    verify()

    assert len(stripe.keys) == 5
    assert clock.now - 1_000 == pytest.approx(3.1)


@CLOCK
def test_number_of_concurrent_requests_is_limited(workspace, make_connection, stripe):
    for number in range(12):
        make_connection(workspace, f"sc_{number}", stripe_account_id=None)
    lock, active, most = threading.Lock(), 0, 0
    are_concurrent = threading.Event()
    knows = stripe.answer

    def answer(handler):
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
            if active > 1:
                are_concurrent.set()
        # The first request is answered after the second one has arrived.
        are_concurrent.wait(60)
        stripe.is_over.wait(0.02)
        with lock:
            active -= 1
        knows(handler)

    stripe.answer = answer

    result = verify("--batch-size", "5")

    assert result.counts == (12, 0, 0, 0)
    assert 1 < most <= verification.MAX_AT_ONCE


def test_only_filtered_connections_are_verified(three, stripe):
    verify("--account", STORED)

    assert outcomes() == ["verified", "unverified", "unverified"]


def test_interrupted_run_keeps_its_results_and_can_be_continued(three, stripe, monkeypatch):
    keep, kept = services.record_reply, []

    def interrupt(pk, reply, actor):
        if kept:
            raise KeyboardInterrupt
        kept.append(pk)
        return keep(pk, reply, actor)

    with monkeypatch.context() as patch:
        patch.setattr(services, "record_reply", interrupt)
        result = verify("--batch-size", "1")

    assert (result.code, outcomes()) == (130, ["verified", "unverified", "unverified"])
    assert "Finished batches are kept." in result.problem
    before = len(stripe.keys)

    assert verify().counts == (1, 0, 1, 1)
    assert len(stripe.keys) == before + 2


def test_result_is_not_stored_for_a_key_that_was_replaced_meanwhile(
    connection, stripe, monkeypatch
):
    keep = services.record_reply

    def replace_and_keep(pk, reply, actor):
        services.update_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            changes={"api_key": random_api_key()},
            actor=ACTOR,
            reply=Reply(),
        )
        return keep(pk, reply, actor)

    monkeypatch.setattr(services, "record_reply", replace_and_keep)

    assert verify().counts == (0, 0, 1, 0)
    assert outcomes() == ["unverified"]


def test_changed_outcome_is_recorded_with_the_command_as_its_source(connection, stripe):
    verify()
    verify("--max-age", "0")

    record = LogEntry.objects.get()
    assert record.changes == {"verification": ["unverified", "verified"]}
    assert record.additional_data["source"] == "command"
    assert record.cid.startswith("verify_connections-")


def test_rate_limit_of_the_api_does_not_apply(three, stripe, settings):
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {
        "DEFAULT_THROTTLE_RATES": {"stripe": "1/day"}
    }

    verify()

    assert len(stripe.keys) == 3


@pytest.mark.parametrize("arguments", [(), ("--apply",)])
def test_command_is_refused_if_verification_is_off(connection, fake_stripe, arguments):
    result = run("verify_connections", *arguments)

    assert (result.code, result.problem) == (1, "STRIPE_VERIFY is off: no key is verified.")
    assert fake_stripe.requests == []


BAD_OPTIONS = [
    ("--max-age", "-1"),
    ("--max-age", "nan"),
    ("--max-age", "inf"),
    ("--max-age", "a day"),
    ("--rate", "0"),
    ("--rate", "-1"),
    ("--rate", "nan"),
    ("--rate", "1000"),
]


def test_bad_option_is_refused(connection, stripe):
    results = {arguments: verify(*arguments) for arguments in BAD_OPTIONS}

    named = {a: f"argument {a[0]}" in result.problem for a, result in results.items()}
    assert {result.code for result in results.values()} == {1}
    assert named == dict.fromkeys(BAD_OPTIONS, True)
    assert stripe.requests == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_printed(connection, stripe, form, capfd):
    key = plain(StripeConnection.objects.defer(None).get(), "api_key")
    stripe.rejects()

    result = verify("--format", form)

    assert stripe.keys == [key]
    assert key not in result.everything + "".join(capfd.readouterr())


@pytest.mark.only_on("postgresql", reason="SQLite has no row locks")
@pytest.mark.django_db(transaction=True)
def test_locked_row_fails_and_the_others_are_verified(three, stripe, settings):
    settings.LOCK_TIMEOUT_SECONDS = 0.05
    with Holder(three[0]):
        result = verify()

    assert result.counts == (1, 0, 0, 2)
    assert (
        result.json["rows"][0]["error"]
        == "Another transaction kept the row locked. Run the command again."
    )
    assert outcomes() == ["unverified", "rejected", "verified"]
