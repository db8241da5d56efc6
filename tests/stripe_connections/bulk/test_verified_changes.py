"""Commands verify new keys and accounts before they lock a row."""

import json

import pytest
from auditlog.models import LogEntry
from django.db import connection as database

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.bulk import verifier
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.replies import Cause, Reply
from tests.conftest import (
    known_of,
    outcome_of,
    plain,
    random_api_key,
    random_webhook_secret,
    set_columns,
)
from tests.fake_stripe import OTHER, STORED
from tests.stripe_connections.bulk.conftest import run

LEAKED, NEW, TEST = random_api_key(), random_api_key(), random_api_key("sk_test_")
BOTH = f"{LEAKED}\n{NEW}"
REQUESTS = pytest.mark.only_on(
    "sqlite", reason="whether a request is sent does not depend on the database"
)
REFUSED = f"apiKey: {Cause.NOT_ACCEPTED.label}"
SWAPPED = "apiKey: The stored key is a live key and this one a test key."
UNVERIFIED = f"The key could not be checked. {Cause.STRIPE_ERROR.label}"


def mismatch(actual, expected):
    return f"stripeAccountId: The API key belongs to {actual}, not to {expected}."


def hold(connection, **values):
    """Update without verification."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.STRIPE_VERIFY", False)
        services.update_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            changes=values,
            actor=Actor(None, Source.COMMAND),
        )


def key_of(connection):
    return plain(StripeConnection.objects.defer(None).get(pk=connection.pk), "api_key")


def errors(result):
    return [row["error"] for row in result.json["rows"] if row["outcome"] == "failed"]


@pytest.fixture
def holders(connection, other_workspace, make_connection, stripe):
    """Connections of two tenants with the same account and the leaked key."""
    found = connection, make_connection(other_workspace, "sc_other")
    for holder in found:
        hold(holder, api_key=LEAKED)
    return found


@pytest.fixture
def records():
    """Return a function that counts the audit records that were added."""
    before = LogEntry.objects.count()
    return lambda: LogEntry.objects.count() - before


class TestReplaceSecret:
    def test_new_key_is_verified_once_for_all_connections(self, holders, stripe):
        result = run("replace_secret", "--apply", "--batch-size", "1", stdin=BOTH)

        assert result.counts == (2, 0, 0, 0)
        assert stripe.keys == [NEW]
        assert [key_of(holder) for holder in holders] == [NEW, NEW]
        assert [known_of(holder) for holder in holders] == [("verified", STORED)] * 2
        assert result.json["rows"][0]["changes"]["verification"] == ["unverified", "verified"]

    def test_each_connection_is_checked_against_its_account(self, holders, stripe, stored):
        hold(holders[0], stripe_account_id=OTHER)
        before = stored(holders[0])

        result = run("replace_secret", "--apply", stdin=BOTH)

        assert (result.code, result.counts) == (1, (1, 0, 0, 1))
        assert errors(result) == [mismatch(STORED, OTHER)]
        assert stored(holders[0]) == before
        assert key_of(holders[1]) == NEW
        assert stripe.keys == [NEW, NEW]

    def test_key_of_an_organization_is_verified_for_each_account(self, holders, stripe):
        hold(holders[0], stripe_account_id=OTHER)
        stripe.answer = lambda handler: handler.send(
            200, json.dumps({"id": handler.headers["Stripe-Context"]}).encode()
        )

        key = random_api_key("sk_org_live_")
        result = run("replace_secret", "--apply", stdin=f"{LEAKED}\n{key}")

        assert result.counts == (2, 0, 0, 0)
        assert sorted(holder.outcome.account_id for holder in StripeConnection.objects.all()) == [
            STORED, OTHER,
        ]  # fmt: skip
        assert len(stripe.requests) == 2

    def test_rejected_key_is_not_saved(self, holders, stripe, stored, records):
        stripe.rejects()
        before = [stored(holder) for holder in holders]

        result = run("replace_secret", "--apply", stdin=BOTH)

        assert (result.code, result.counts) == (1, (0, 0, 0, 2))
        assert errors(result) == [REFUSED, REFUSED]
        assert [stored(holder) for holder in holders] == before
        assert len(stripe.requests) == 1
        assert records() == 0

    @pytest.mark.parametrize("arguments", [(), ("--apply",)])
    def test_change_of_mode_is_refused_without_a_request(self, holders, stripe, stored, arguments):
        before = stored(holders[0])

        result = run("replace_secret", *arguments, stdin=f"{LEAKED}\n{TEST}")

        assert (result.code, result.counts) == (1, (0, 0, 0, 2))
        assert errors(result) == [SWAPPED, SWAPPED]
        assert stored(holders[0]) == before
        assert stripe.requests == []

    def test_change_of_mode_can_be_allowed(self, holders, stripe):
        arguments = ("--apply", "--allow-mode-change")
        result = run("replace_secret", *arguments, stdin=f"{LEAKED}\n{TEST}")

        assert result.counts == (2, 0, 0, 0)
        assert stripe.keys == [TEST]
        assert StripeConnection.objects.get(pk=holders[0].pk).mode == "test"

    def test_rejected_key_is_refused_if_a_change_of_mode_is_allowed(self, holders, stripe):
        stripe.rejects()

        arguments = ("--apply", "--allow-mode-change")
        result = run("replace_secret", *arguments, stdin=f"{LEAKED}\n{TEST}")

        assert errors(result) == [REFUSED, REFUSED]

    def test_key_without_a_reply_is_saved_as_unverified(self, holders, stripe):
        stripe.fails(503)

        result = run("replace_secret", "--apply", "--batch-size", "1", stdin=BOTH)

        assert (result.code, result.counts) == (0, (2, 0, 0, 0))
        assert result.json["rows"][0]["changes"]["verification"] == ["unverified", "unverified"]
        assert [outcome_of(holder).verification for holder in holders] == ["unverified"] * 2
        # The library retries once. The command sends no request for the second connection.
        assert len(stripe.requests) == 2

    def test_key_without_a_reply_is_not_saved_if_verification_is_required(
        self, holders, stripe, settings, stored
    ):
        settings.STRIPE_VERIFY_REQUIRED = True
        stripe.fails(503)
        before = stored(holders[0])

        result = run("replace_secret", "--apply", stdin=BOTH)

        assert (result.code, errors(result)) == (1, [UNVERIFIED, UNVERIFIED])
        assert stored(holders[0]) == before

    @REQUESTS
    def test_other_runs_send_no_request(self, holders, stripe):
        leaked, new = random_webhook_secret(), random_webhook_secret()
        hold(holders[0], webhook_secret=leaked)

        dry = run("replace_secret", stdin=BOTH)
        webhook = run("replace_secret", "--apply", stdin=f"{leaked}\n{new}")
        off = run("replace_secret", "--apply", "--deactivate", stdin=LEAKED)

        assert (dry.counts, webhook.counts, off.counts) == (
            (2, 0, 0, 0),
            (1, 0, 0, 0),
            (2, 0, 0, 0),
        )
        assert stripe.requests == []

    @REQUESTS
    def test_no_request_is_sent_if_verification_is_off(self, connection, fake_stripe):
        hold(connection, api_key=LEAKED)

        result = run("replace_secret", "--apply", stdin=f"{LEAKED}\n{TEST}")

        assert result.counts == (1, 0, 0, 0)
        assert "verification" not in result.json["rows"][0]["changes"]
        assert fake_stripe.requests == []
        assert outcome_of(connection) == Reply()

    @REQUESTS
    @pytest.mark.parametrize(
        ("status", "form"), [(401, "json"), (401, "text"), (403, "json"), (503, "text")]
    )
    def test_no_secret_is_printed_or_recorded(self, holders, stripe, caplog, status, form):
        stripe.repeats(status)

        result = run("replace_secret", "--apply", "--format", form, stdin=BOTH)

        records = json.dumps(list(LogEntry.objects.values()), default=str)
        output = result.everything + records + caplog.text
        assert stripe.keys[0] == NEW
        assert not [secret for secret in (LEAKED, NEW) if secret[:-4] in output]


class TestUpdateConnections:
    def test_new_account_is_verified_once_with_each_stored_key(self, holders, stripe):
        stripe.knows(OTHER)

        result = run("update_connections", "--apply", "--set", f"stripeAccountId={OTHER}")

        assert result.counts == (2, 0, 0, 0)
        assert stripe.keys == [LEAKED]
        assert [known_of(holder) for holder in holders] == [("verified", OTHER)] * 2

    def test_only_the_row_whose_key_belongs_to_another_account_fails(
        self, connection, workspace, make_connection, stripe, stored
    ):
        wrong = make_connection(workspace, "sc_wrong")
        before, wrong_key = stored(wrong), key_of(wrong)

        def answer(handler):
            is_wrong = handler.headers["Authorization"].endswith(wrong_key)
            handler.send(200, json.dumps({"id": STORED if is_wrong else OTHER}).encode())

        stripe.answer = answer
        result = run("update_connections", "--apply", "--set", f"stripeAccountId={OTHER}")

        assert (result.code, result.counts) == (1, (1, 0, 0, 1))
        assert errors(result) == [mismatch(STORED, OTHER)]
        assert stored(wrong) == before
        assert known_of(connection) == ("verified", OTHER)

    @REQUESTS
    @pytest.mark.parametrize(
        "arguments",
        [
            ("--apply", "--set", "status=INACTIVE"),
            ("--apply", "--set", f"stripeAccountId={STORED}"),
            ("--apply", "--set-null", "stripeAccountId"),
            ("--set", f"stripeAccountId={OTHER}"),
        ],
        ids=["status", "same account", "no account", "dry run"],
    )
    def test_other_updates_send_no_request(self, connection, stripe, arguments):
        assert run("update_connections", *arguments).code == 0

        assert stripe.requests == []

    def test_connection_without_a_key_is_changed_without_a_request(
        self, workspace, stripe, settings
    ):
        settings.STRIPE_VERIFY_REQUIRED = True
        empty = StripeConnection.objects.create(workspace=workspace, connection_name="Empty")

        result = run("update_connections", "--apply", "--set", f"stripeAccountId={OTHER}")

        assert result.counts == (1, 0, 0, 0)
        assert stripe.requests == []
        assert outcome_of(empty) == Reply()

    def test_unreadable_key_is_not_verified(self, connection, stripe):
        set_columns(connection, api_key=b"damaged")

        result = run("update_connections", "--apply", "--set", f"stripeAccountId={OTHER}")

        assert result.counts == (1, 0, 0, 0)
        assert stripe.requests == []
        assert outcome_of(connection) == Reply()

    @pytest.mark.parametrize(
        ("is_required", "counts"), [(False, (1, 0, 0, 0)), (True, (0, 0, 0, 1))]
    )
    def test_reply_for_a_key_that_was_replaced_is_ignored(
        self, connection, stripe, monkeypatch, settings, is_required, counts
    ):
        settings.STRIPE_VERIFY_REQUIRED = is_required
        stripe.knows(OTHER)
        send = verifier.Verifier.send

        def replace_and_send(*arguments):
            hold(connection, api_key=random_api_key())
            return send(*arguments)

        monkeypatch.setattr(verifier.Verifier, "send", replace_and_send)

        result = run("update_connections", "--apply", "--set", f"stripeAccountId={OTHER}")

        assert result.counts == counts
        assert outcome_of(connection).verification == "unverified"


class TestImportConnections:
    @pytest.fixture
    def imported(self):
        def read(*rows, arguments=("--apply",)):
            lines = "\n".join(json.dumps({"workspaceId": "ws_demo"} | row) for row in rows)
            return run("import_connections", "-", *arguments, stdin=lines)

        return read

    def test_rows_are_changed_and_created_with_one_request_for_each_account(
        self, connection, stripe, imported
    ):
        rows = [{"bizId": "sc_abc123", "apiKey": NEW}]
        rows += [{"connectionName": name, "apiKey": NEW} for name in ("A", "B")]

        result = imported(*rows)

        assert result.counts == (3, 0, 0, 0)
        assert stripe.keys == [NEW, NEW]
        found = [row.outcome.verification for row in StripeConnection.objects.all()]
        assert found == ["verified"] * 3

    def test_rejected_key_stops_the_import(self, connection, stripe, imported, stored):
        def answer(handler):
            is_bad = handler.headers["Authorization"].endswith(LEAKED)
            status, body = (401, {"error": {}}) if is_bad else (200, {"id": STORED})
            handler.send(status, json.dumps(body).encode())

        stripe.answer = answer
        before = stored(connection)
        rows = [{"bizId": "sc_abc123", "apiKey": NEW}, {"connectionName": "A", "apiKey": LEAKED}]

        result = imported(*rows)

        assert (result.code, result.counts) == (1, (0, 0, 1, 1))
        assert (result.json["rows"][0]["line"], errors(result)) == (2, [REFUSED])
        assert stored(connection) == before
        assert StripeConnection.objects.count() == 1
        assert LEAKED not in result.everything

    def test_good_rows_are_imported_with_keep_going(self, connection, stripe, imported):
        rows = [{"bizId": "sc_abc123", "apiKey": NEW}]
        rows += [{"connectionName": "A", "apiKey": NEW, "stripeAccountId": OTHER}]

        result = imported(*rows, arguments=("--apply", "--keep-going", "--batch-size", "1"))

        assert (result.code, result.counts) == (1, (1, 0, 0, 1))
        assert errors(result) == [mismatch(STORED, OTHER)]
        assert outcome_of(connection).verification == "verified"
        assert stripe.keys == [NEW, NEW]

    @REQUESTS
    def test_file_with_a_bad_row_sends_no_request(self, connection, stripe, imported, settings):
        settings.STRIPE_VERIFY_REQUIRED = True

        result = imported({"bizId": "sc_abc123", "apiKey": NEW}, {"bizId": "sc_x", "status": 7})

        assert (result.code, result.counts) == (1, (0, 0, 1, 1))
        assert stripe.requests == []

    @REQUESTS
    def test_other_rows_send_no_request(self, connection, stripe, imported):
        hold(connection, api_key=NEW)
        row = {"bizId": "sc_abc123", "apiKey": NEW, "connectionName": "New"}

        assert imported(row).counts == (1, 0, 0, 0)
        assert imported({"connectionName": "A", "stripeAccountId": OTHER}).counts == (1, 0, 0, 0)
        assert imported({"connectionName": "B", "apiKey": NEW}, arguments=()).code == 0
        assert stripe.requests == []

    @REQUESTS
    def test_refused_or_filtered_row_sends_no_request(self, connection, stripe, imported):
        rows = [
            {"bizId": "sc_abc123", "apiKey": NEW},
            {"bizId": "sc_none", "apiKey": NEW},
        ]

        result = imported(*rows, arguments=("--apply", "--keep-going", "--status", "INACTIVE"))

        assert result.counts == (0, 0, 1, 1)
        assert stripe.requests == []

    def test_change_of_mode_is_refused_unless_it_is_allowed(self, connection, stripe, imported):
        row = {"bizId": "sc_abc123", "apiKey": TEST}

        refused = imported(row)
        assert (errors(refused), stripe.requests) == ([SWAPPED], [])

        allowed = imported(row, arguments=("--apply", "--allow-mode-change"))
        assert (allowed.counts, stripe.keys) == ((1, 0, 0, 0), [TEST])

    def test_connection_without_a_reply_is_created_as_unverified_or_refused(
        self, workspace, stripe, settings, imported
    ):
        stripe.fails(503)

        assert imported({"connectionName": "A", "apiKey": NEW}).counts == (1, 0, 0, 0)
        settings.STRIPE_VERIFY_REQUIRED = True
        assert errors(imported({"connectionName": "B", "apiKey": NEW})) == [UNVERIFIED]

        assert StripeConnection.objects.get().outcome.verification == "unverified"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("replace_secret",), BOTH),
        (("update_connections", "--set", f"stripeAccountId={OTHER}"), ""),
        (
            ("import_connections", "-"),
            json.dumps({"workspaceId": "ws_demo", "bizId": "sc_abc123", "apiKey": NEW}),
        ),
    ],
    ids=["replace", "update", "import"],
)
def test_no_transaction_is_open_during_the_verification(
    connection, stripe, monkeypatch, arguments, stdin
):
    hold(connection, api_key=LEAKED)
    send, found = verifier.Verifier.send, []

    def look_and_send(*arguments):
        found.append(database.in_atomic_block)
        return send(*arguments)

    monkeypatch.setattr(verifier.Verifier, "send", look_and_send)

    run(*arguments, "--apply", stdin=stdin)

    assert found == [False]
