"""The values that each field of the update call accepts and refuses."""

import json

import pytest

from stripe_connections.models import StripeConnection
from tests.conftest import errors_of, plain, random_api_key

KEY_BODY = "Ab1" * 8
API_KEY = "sk_" + "live_" + KEY_BODY
WEBHOOK_SECRET = "whsec_" + KEY_BODY
CONFIG_LIMIT = 16 * 1024

VALID = {
    "connectionBizId": "sc_abc123",
    "connectionName": "Name",
    "connectionDescription": "Description",
    "stripeAccountId": "acct_1A",
    "apiKey": API_KEY,
    "webhookSecret": WEBHOOK_SECRET,
    "partnerEndpoint": "https://partner.example.com/hook",
    "configJson": '{"a": 1}',
}
PLAIN = {
    "connectionName": "connection_name",
    "connectionDescription": "connection_description",
    "stripeAccountId": "stripe_account_id",
    "partnerEndpoint": "partner_endpoint",
    "configJson": "config_json",
}
SECRETS = {"apiKey": "api_key", "webhookSecret": "webhook_secret"}
BAD_VALUES = pytest.mark.only_on("sqlite", reason="bad values do not reach the database")
UNTOUCHED = pytest.mark.usefixtures("untouched")


def one_field(name, value):
    return {"connectionBizId": "sc_abc123"} | {name: value}


def of_field(cases, field):
    """Return what is expected for each value of the field in `cases`."""
    return {sent: expected for name, sent, expected in cases if name == field}


# In the next tables: the field, what is sent, and what is kept, or the code of the error.
ACCEPTED = [
    ("connectionName", "x", "x"),
    ("connectionName", "n" * 128, "n" * 128),
    ("connectionName", "🎉" * 128, "🎉" * 128),
    ("connectionName", "Zürich  東京", "Zürich  東京"),
    ("connectionName", "می\u200cخواهم", "می\u200cخواهم"),
    ("connectionName", "👩\u200d💻\ufe0f", "👩\u200d💻\ufe0f"),
    ("connectionName", "\u200fעברית\u200e", "\u200fעברית\u200e"),
    ("connectionName", "İ́", "İ́"),
    ("connectionName", " \t\r\n\u00a0\u3000name\u2003\n", "name"),
    ("connectionName", " " * 200 + "n" * 128, "n" * 128),
    ("connectionDescription", None, None),
    ("connectionDescription", "", ""),
    ("connectionDescription", " \n ", " \n "),
    ("connectionDescription", "  kept verbatim\t\r\n", "  kept verbatim\t\r\n"),
    ("connectionDescription", "d" * 1_000, "d" * 1_000),
    ("connectionDescription", "🎉" * 1_000, "🎉" * 1_000),
    ("stripeAccountId", None, None),
    ("stripeAccountId", "acct_1", "acct_1"),
    ("stripeAccountId", "acct_" + "aZ09x" * 50, "acct_" + "aZ09x" * 50),
    ("stripeAccountId", "\tacct_1234567890\n", "acct_1234567890"),
    ("partnerEndpoint", None, None),
    ("partnerEndpoint", " https://example.com/hook\n", "https://example.com/hook"),
    (
        "partnerEndpoint",
        "https://example.com/" + "p" * 2_028,
        "https://example.com/" + "p" * 2_028,
    ),
    ("configJson", None, None),
    ("configJson", "{}", "{}"),
    ("configJson", '\n {"b" : 1.50,\t"a":[null]} ', '\n {"b" : 1.50,\t"a":[null]} '),
    ("configJson", '{"ü": "\\u00fc"}', '{"ü": "\\u00fc"}'),
    ("configJson", '{"a":1e999}', '{"a":1e999}'),
    ("configJson", '{"a":' * 100 + "1" + "}" * 100, '{"a":' * 100 + "1" + "}" * 100),
    ("configJson", "{}" + " " * (CONFIG_LIMIT - 2), "{}" + " " * (CONFIG_LIMIT - 2)),
    (
        "configJson",
        json.dumps({"a": "é" * (CONFIG_LIMIT // 2 - 5)}, ensure_ascii=False),
        json.dumps({"a": "é" * (CONFIG_LIMIT // 2 - 5)}, ensure_ascii=False),
    ),
]


@pytest.mark.parametrize("field", PLAIN)
def test_plain_value_is_accepted(manager, connection, field):
    def accept(sent):
        response = manager.update(one_field(field, sent))
        connection.refresh_from_db()
        shown = response.json()["data"][field]
        return response.status_code, shown, getattr(connection, PLAIN[field])

    cases = of_field(ACCEPTED, field)
    assert {sent: accept(sent) for sent in cases} == {
        sent: (200, kept, kept) for sent, kept in cases.items()
    }


ACCEPTED_SECRETS = [
    ("apiKey", "sk_" + "a" * 10, "sk_" + "a" * 10),
    ("apiKey", "rk_test_" + "1" * 10, "rk_test_" + "1" * 10),
    ("apiKey", API_KEY, API_KEY),
    ("apiKey", "sk_" + "test_" + KEY_BODY, "sk_" + "test_" + KEY_BODY),
    ("apiKey", "rk_" + "live_" + KEY_BODY, "rk_" + "live_" + KEY_BODY),
    ("apiKey", "sk_org_" + "live_" + KEY_BODY, "sk_org_" + "live_" + KEY_BODY),
    ("apiKey", "sk_" + "a" * 1_021, "sk_" + "a" * 1_021),
    ("apiKey", f" \n{API_KEY}\t", API_KEY),
    ("webhookSecret", "whsec_" + "a" * 10, "whsec_" + "a" * 10),
    ("webhookSecret", WEBHOOK_SECRET, WEBHOOK_SECRET),
    ("webhookSecret", "whsec_aAZ09+/=_-", "whsec_aAZ09+/=_-"),
    ("webhookSecret", "whsec_" + "a" * 1_018, "whsec_" + "a" * 1_018),
    ("webhookSecret", f"\u00a0{WEBHOOK_SECRET}\r\n", WEBHOOK_SECRET),
]


@pytest.mark.parametrize("field", SECRETS)
def test_secret_is_accepted_and_encrypted(manager, connection, stored, field):
    def accept(sent):
        response = manager.update(one_field(field, sent))
        token = stored(connection)[SECRETS[field]]
        kept = plain(StripeConnection.objects.get(), SECRETS[field])
        tokens.append(token)
        return response.status_code, kept, kept.encode() in token

    cases, tokens = of_field(ACCEPTED_SECRETS, field), []
    assert {sent: accept(sent) for sent in cases} == {
        sent: (200, kept, False) for sent, kept in cases.items()
    }
    assert len(set(tokens)) == len(cases)


REFUSED = [
    ("connectionBizId", None, "null"),
    ("connectionBizId", "", "blank"),
    ("connectionBizId", " \n", "blank"),
    ("connectionBizId", "sc_" + "a" * 62, "max_length"),
    ("connectionName", None, "null"),
    ("connectionName", "", "blank"),
    ("connectionName", " \t\u3000", "blank"),
    ("connectionName", "n" * 129, "max_length"),
    ("connectionName", "two\nlines", "control_characters"),
    ("connectionName", "tab\there", "control_characters"),
    ("connectionName", "bell\a", "control_characters"),
    ("connectionName", "delete\x7f", "control_characters"),
    ("connectionName", "next\x85line", "control_characters"),
    ("connectionName", "Acme \u202egnp.exe", "bidi_characters"),
    ("connectionName", "\u2067", "bidi_characters"),
    ("connectionName", "\u200b", "blank"),
    ("connectionName", "\u2800", "blank"),
    ("connectionName", "\u3164", "blank"),
    ("connectionName", "\u00ad", "blank"),
    ("connectionName", "\u200c \u200d\ufe0f", "blank"),
    ("connectionName", "\U000e0041", "blank"),
    ("connectionDescription", "d" * 1_001, "max_length"),
    ("connectionDescription", "bell\a", "control_characters"),
    ("connectionDescription", "escape\x1b[0m", "control_characters"),
    ("connectionDescription", "form\ffeed", "control_characters"),
    ("connectionDescription", "vertical\vtab", "control_characters"),
    ("connectionDescription", "next\x85line", "control_characters"),
    ("connectionDescription", "\x9f", "control_characters"),
    ("stripeAccountId", "", "blank"),
    ("stripeAccountId", "  ", "blank"),
    ("stripeAccountId", "acct_", "not_an_account_id"),
    ("stripeAccountId", "1234567890", "not_an_account_id"),
    ("stripeAccountId", "ACCT_1", "not_an_account_id"),
    ("stripeAccountId", "xacct_1", "not_an_account_id"),
    ("stripeAccountId", "acct_1 2", "not_an_account_id"),
    ("stripeAccountId", "acct_1_2", "not_an_account_id"),
    ("stripeAccountId", "acct_é", "not_an_account_id"),
    ("stripeAccountId", "acct_١", "not_an_account_id"),
    ("stripeAccountId", "acct_1\x01", "not_an_account_id"),
    ("stripeAccountId", "acct_" + "1" * 251, "max_length"),
    ("apiKey", None, "null"),
    ("apiKey", "", "blank"),
    ("apiKey", " \t ", "blank"),
    ("apiKey", "sk_", "too_short"),
    ("apiKey", "rk_", "too_short"),
    ("apiKey", "sk_test_", "too_short"),
    ("apiKey", "sk_test_xxx", "too_short"),
    ("apiKey", "sk_" + "org_live_" + "a" * 9, "too_short"),
    ("webhookSecret", "whsec_xxx", "too_short"),
    ("apiKey", "mk_" + KEY_BODY, "wrong_family"),
    ("apiKey", "rkcs_" + KEY_BODY, "wrong_family"),
    ("webhookSecret", "absec_" + KEY_BODY, "wrong_family"),
    ("webhookSecret", "pss_" + KEY_BODY, "wrong_family"),
    ("apiKey", "seti_" + "1_secret_" + KEY_BODY, "wrong_family"),
    ("apiKey", "pi_" + "1_secret_" + KEY_BODY, "wrong_family"),
    ("apiKey", "SK_" + "live_" + KEY_BODY, "not_a_stripe_secret"),
    ("apiKey", KEY_BODY, "not_a_stripe_secret"),
    ("apiKey", f"x{API_KEY}", "not_a_stripe_secret"),
    ("apiKey", f"{API_KEY[:12]} {API_KEY[12:]}", "not_a_stripe_secret"),
    ("apiKey", f"{API_KEY[:12]}\n{API_KEY[12:]}", "not_a_stripe_secret"),
    ("apiKey", f"{API_KEY[:12]}\u00a0{API_KEY[12:]}", "not_a_stripe_secret"),
    ("apiKey", f"{API_KEY}-", "not_a_stripe_secret"),
    ("apiKey", f"{API_KEY}é", "not_a_stripe_secret"),
    ("apiKey", f"{API_KEY}\u200b", "not_a_stripe_secret"),
    ("apiKey", f"{API_KEY}１", "not_a_stripe_secret"),
    ("apiKey", "sk_" + "a" * 1_022, "max_length"),
    ("apiKey", "••••", "masked"),
    ("apiKey", "****", "masked"),
    ("apiKey", "sk_" + "live_****1234", "masked"),
    ("apiKey", "sk_" + "live_••••••••1234", "masked"),
    ("apiKey", "sk_" + "live_…1234", "masked"),
    ("apiKey", "sk_" + "live_...1234", "masked"),
    ("apiKey", "●●●●●●", "masked"),
    ("apiKey", "pk_" + "live_****", "masked"),
    ("apiKey", "pk_" + "live_" + KEY_BODY, "wrong_family"),
    ("apiKey", WEBHOOK_SECRET, "wrong_family"),
    ("apiKey", f" pk_{KEY_BODY}\n", "wrong_family"),
    ("webhookSecret", None, "null"),
    ("webhookSecret", "", "blank"),
    ("webhookSecret", "\n", "blank"),
    ("webhookSecret", "whsec_", "too_short"),
    ("webhookSecret", "WHSEC_" + KEY_BODY, "not_a_stripe_secret"),
    ("webhookSecret", KEY_BODY, "not_a_stripe_secret"),
    ("webhookSecret", "whsec_a b", "not_a_stripe_secret"),
    ("webhookSecret", "whsec_a\tb", "not_a_stripe_secret"),
    ("webhookSecret", "whsec_a.b", "not_a_stripe_secret"),
    ("webhookSecret", "whsec_é", "not_a_stripe_secret"),
    ("webhookSecret", "whsec_" + "a" * 1_019, "max_length"),
    ("webhookSecret", "whsec_••••1234", "masked"),
    ("webhookSecret", "whsec_****", "masked"),
    ("webhookSecret", "we_" + KEY_BODY, "wrong_family"),
    ("webhookSecret", API_KEY, "wrong_family"),
    ("webhookSecret", "rk_" + "live_" + KEY_BODY, "wrong_family"),
    ("partnerEndpoint", "", "blank"),
    ("partnerEndpoint", "   ", "blank"),
    ("partnerEndpoint", "https://example.com/" + "p" * 2_029, "max_length"),
    ("partnerEndpoint", "http://example.com/", "not_https"),
    ("configJson", "", "blank"),
    ("configJson", "  ", "not_json"),
    ("configJson", "null", "not_an_object"),
    ("configJson", "[]", "not_an_object"),
    ("configJson", '"{}"', "not_an_object"),
    ("configJson", "1", "not_an_object"),
    ("configJson", "{} {}", "not_json"),
    ("configJson", '{"a": 1,}', "not_json"),
    ("configJson", "{'a': 1}", "not_json"),
    ("configJson", '{"a": 1, "a": 1}', "not_json"),
    ("configJson", '{"b": {"a": 1, "\\u0061": 2}}', "not_json"),
    ("configJson", '{"a": NaN}', "not_json"),
    ("configJson", '{"a": -Infinity}', "not_json"),
    ("configJson", "\ufeff{}", "not_json"),
    ("configJson", '{"a": "\\u0000"}', "invalid_characters"),
    ("configJson", '{"\\ud800": 1}', "invalid_characters"),
    ("configJson", '{"a": ["\\udfff"]}', "invalid_characters"),
    ("configJson", '{"a":' * 101 + "1" + "}" * 101, "not_json"),
    ("configJson", '{"a":' + "[" * 100 + "]" * 100 + "}", "not_json"),
    ("configJson", '{"a":' * 3_000 + "1" + "}" * 3_000, "max_length"),
    ("configJson", '{"a":' + "[" * 8_000 + "]" * 8_000 + "}", "not_json"),
    ("configJson", "{}" + " " * (CONFIG_LIMIT - 1), "max_length"),
    (
        "configJson",
        json.dumps({"a": "é" * (CONFIG_LIMIT // 2)}, ensure_ascii=False),
        "max_length",
    ),
]


@BAD_VALUES
@UNTOUCHED
@pytest.mark.parametrize("field", VALID)
def test_value_is_refused(manager, field):
    cases = of_field(REFUSED, field)
    found = {sent: errors_of(manager.update(VALID | {field: sent})) for sent in cases}

    assert found == {sent: (400, [(field, code)]) for sent, code in cases.items()}


@BAD_VALUES
@pytest.mark.parametrize("sent", [0, 1, 2.5, True, False, [], ["a"], {}, {"a": "b"}], ids=repr)
def test_other_types_than_strings_are_refused(manager, assert_refused, sent):
    response = manager.update(dict.fromkeys(VALID, sent))

    assert assert_refused(response, 400, "4000")["errors"] == [
        {"field": field, "code": "invalid_type", "message": "Must be a string."} for field in VALID
    ]


@BAD_VALUES
@UNTOUCHED
@pytest.mark.parametrize("bad", ["\0", "\ud800", chr(0xDFFF)], ids=ascii)
def test_nul_and_lone_surrogates_are_refused(manager, bad):
    response = manager.update({field: value + bad for field, value in VALID.items()})

    assert errors_of(response) == (400, [(field, "invalid_characters") for field in VALID])


def test_surrogate_pair_is_one_character(manager, connection):
    body = '{"connectionBizId": "sc_abc123", "connectionName": "\\ud83c\\udf89"}'

    response = manager.update(body.encode())

    assert response.json()["data"]["connectionName"] == "🎉"


NAMED = {
    ("apiKey", "pk_" + "live_" + KEY_BODY): "a publishable key",
    ("apiKey", WEBHOOK_SECRET): "a webhook signing secret",
    ("apiKey", "acct_1234567890"): "an account ID",
    ("webhookSecret", "we_" + KEY_BODY): "the ID of a webhook endpoint",
    ("webhookSecret", API_KEY): "a secret key",
    ("webhookSecret", "rk_" + "live_" + KEY_BODY): "a restricted key",
}


@BAD_VALUES
@UNTOUCHED
def test_message_names_the_wrong_kind_of_secret(manager):
    def named(field, sent):
        [error] = manager.update(one_field(field, sent)).json()["errors"]
        return error["message"].partition(". Must be ")[0]

    assert {case: named(*case) for case in NAMED} == {
        case: f"This is {kind}" for case, kind in NAMED.items()
    }


@BAD_VALUES
def test_error_for_a_long_value_contains_the_limit(manager, assert_refused):
    limits = {
        "connectionBizId": 64,
        "connectionName": 128,
        "connectionDescription": 1_000,
        "partnerEndpoint": 2_048,
        "configJson": CONFIG_LIMIT,
    }
    long = {field: "x" * (limit + 1) for field, limit in limits.items()}

    errors = assert_refused(manager.update(VALID | long), 400, "4000")["errors"]

    assert {error["field"]: error["limit"] for error in errors} == limits
    assert {error["code"] for error in errors} == {"max_length"}
    assert [error for error in errors if f"{error['limit']:,}" not in error["message"]] == []


@BAD_VALUES
def test_every_bad_field_is_listed_once_in_the_order_of_the_contract(manager, assert_refused):
    response = manager.update(dict.fromkeys(reversed(VALID), 1) | {"surprise": 1})

    errors = assert_refused(response, 400, "4000")["errors"]
    assert [error["field"] for error in errors] == [*VALID, "surprise"]


@BAD_VALUES
def test_connection_id_is_required(manager, assert_refused):
    response = manager.update({"connectionName": "New"})

    assert assert_refused(response, 400, "4000")["errors"] == [
        {"field": "connectionBizId", "code": "required", "message": "This field is required."}
    ]


def test_connection_id_is_trimmed(manager, connection):
    response = manager.update({"connectionBizId": " sc_abc123\n", "connectionName": "New"})

    assert response.json()["data"]["connectionName"] == "New"


def test_accepted_key_prefixes_are_a_setting(manager, connection, settings):
    settings.STRIPE_API_KEY_PREFIXES = ["rk_", "xk_"]

    accepted = manager.update(one_field("apiKey", random_api_key("xk_")))
    refused = manager.update(one_field("apiKey", random_api_key()))

    assert accepted.status_code == 200
    [error] = refused.json()["errors"]
    assert (error["field"], error["code"]) == ("apiKey", "wrong_family")


@BAD_VALUES
@pytest.mark.parametrize(
    ("name", "value", "prefixes"),
    [
        ("apiKey", "pk_" + "live_" + KEY_BODY, ["sk_", "rk_"]),
        ("apiKey", "sk_" + "live_****1234", ["sk_", "rk_"]),
        ("apiKey", KEY_BODY, ["sk_", "rk_"]),
        ("webhookSecret", "we_" + KEY_BODY, ["whsec_"]),
    ],
)
def test_error_contains_the_prefixes_of_the_message(manager, connection, name, value, prefixes):
    [error] = manager.update({"connectionBizId": "sc_abc123", name: value}).json()["errors"]

    assert error["prefixes"] == prefixes
    assert all(f"{prefix}…" in error["message"] for prefix in prefixes)
