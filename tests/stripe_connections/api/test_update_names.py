"""The names of the fields of the update call: unknown, misspelled and read-only ones."""

import json

import pytest

from tests.conftest import errors_of, random_api_key

pytestmark = pytest.mark.only_on("sqlite", reason="parsing does not depend on the database")

UNTOUCHED = pytest.mark.usefixtures("untouched")
NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}
LIKELY = {
    "apikey": "apiKey",
    "api_key": "apiKey",
    "APIKEY": "apiKey",
    "key": "apiKey",
    "apiKeys": "apiKey",
    "webhook_secret": "webhookSecret",
    "webhookSecrect": "webhookSecret",
    "webhook": "webhookSecret",
    "name": "connectionName",
    "description": "connectionDescription",
    "connection_biz_id": "connectionBizId",
    "accountId": "stripeAccountId",
    "stripeId": "stripeAccountId",
    "endpoint": "partnerEndpoint",
    "config": "configJson",
    "configuration": "configJson",
    "Status": "status",
}


def errors_for(manager, name, value):
    """Return the errors if the field `name` is sent, too."""
    response = manager.update(NAMED | {name: value})
    assert response.status_code == 400
    return response.json()["errors"]


@UNTOUCHED
def test_unknown_name_is_refused_with_a_suggestion(manager):
    found = {name: errors_for(manager, name, "x") for name in LIKELY}

    assert found == {
        name: [
            {"field": name, "code": "unknown", "message": f"Unknown field. Did you mean {known}?"}
        ]
        for name, known in LIKELY.items()
    }


@UNTOUCHED
def test_unknown_name_without_a_similar_one_is_refused(manager):
    names = ["workspaceId", "username", "x", "_", "zzzz", "a" * 40]
    found = {name: errors_for(manager, name, None) for name in names}

    assert found == {
        name: [{"field": name, "code": "unknown", "message": "Unknown field."}] for name in names
    }


SUSPICIOUS = [
    "",
    " ",
    "a b",
    "a-b",
    "1a",
    "ü",
    "apiKey ",
    "\0",
    "\ud800",
    "a\n",
    "a" * 41,
    "sk_" + "live_x",
    "SK_" + "LIVE_X",
    "rk_test_x",
    "my_sk_" + "x",
    "pk_x",
    "whsec_x",
    "xwhsec_x",
    "acct_1",
    "we_1",
    "4242" + "abcd" * 5,
    "a1" * 10,
    "x_a1b2c3d4e5f6g7h8i9j0",
]


@UNTOUCHED
def test_name_that_may_be_a_secret_is_not_repeated(manager):
    def shown(name):
        [error] = errors_for(manager, name, "x")
        return error["field"], error["code"], "withheld" in error["message"]

    found = {name: shown(name) for name in SUSPICIOUS}
    assert found == dict.fromkeys(SUSPICIOUS, (None, "unknown", True))


def test_api_key_as_a_name_is_not_repeated(manager, assert_refused):
    api_key = random_api_key()

    response = manager.update(NAMED | {api_key: "apiKey"})

    assert_refused(response, 400, "4000")
    assert api_key[-12:] not in response.content.decode()


@UNTOUCHED
@pytest.mark.parametrize("name", ["connectionname", "CONNECTIONNAME", "ConnectionName"])
def test_names_are_case_sensitive(manager, name):
    response = manager.update({"connectionBizId": "sc_abc123", name: "New"})

    assert errors_of(response) == (400, [(name, "unknown")])


@pytest.mark.parametrize("value", [None, "sc_other", 0, 1.5, True, [], {"a": [None]}], ids=repr)
def test_read_only_names_are_ignored(manager, connection, value):
    names = ("bizId", "tenantBizId", "status", "statusName", "createdAt", "updatedAt")
    before = manager.update({"connectionBizId": "sc_abc123"}).json()["data"]

    response = manager.update({"connectionBizId": "sc_abc123"} | dict.fromkeys(names, value))

    assert response.status_code == 200
    assert response.json()["data"] == before


@UNTOUCHED
@pytest.mark.parametrize(
    "value", ["\0", "\ud800", ["\0"], {"a": {"\ud800": 1}}], ids=["nul", "surrogate", "in", "name"]
)
def test_nul_and_lone_surrogates_are_refused_in_ignored_fields_too(manager, value):
    response = manager.update(NAMED | {"status": value})

    assert errors_of(response) == (400, [("status", "invalid_characters")])


@pytest.mark.parametrize(
    "names",
    [
        [f"n{number:x}" for number in range(5_000)],
        [f"connectionNo{number:x}" for number in range(2_500)],
        [f"{number:x}-" + "a" * 30 for number in range(1_500)],
    ],
    ids=["short", "alike", "unrepeatable"],
)
def test_all_of_many_unknown_names_are_listed(manager, assert_refused, names):
    body = json.dumps(dict.fromkeys(names, 1), separators=(",", ":"))[:-1]

    response = manager.update(f'{body},"connectionBizId":"sc_abc123"}}'.encode())

    errors = assert_refused(response, 400, "4000")["errors"]
    assert len(errors) == len(names)
    assert {error["code"] for error in errors} == {"unknown"}


# A comparison is slow, and a body can contain thousands of names.
def test_only_the_first_unknown_names_get_suggestions(manager, assert_refused):
    response = manager.update(NAMED | {f"connectionNo{number:x}": 1 for number in range(99)})

    errors = assert_refused(response, 400, "4000")["errors"]
    suggestions = [error for error in errors if "Did you mean" in error["message"]]
    assert suggestions == errors[:10]
