"""The body of the update call: media type, length, JSON syntax and field names."""

import json
from io import BytesIO

import pytest

from tests.conftest import random_api_key
from tests.wsgi import call, call_chunked

pytestmark = pytest.mark.only_on("sqlite", reason="parsing does not depend on the database")

LIMIT = 64 * 1024
GOOD = b'{"connectionBizId": "sc_abc123", "connectionName": "New"}'
NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}


def padded(size):
    """Return a good body of `size` bytes."""
    return GOOD + b" " * (size - len(GOOD))


def only_error(body):
    [error] = body["errors"]
    return error["field"], error["code"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
        "Application/JSON; Charset=UTF8",
        "application/json; version=1",
        " application/json ",
    ],
)
def test_json_in_utf8_is_read(manager, connection, content_type):
    response = manager.update(GOOD, content_type=content_type)

    assert response.status_code == 200
    assert response.json()["data"]["connectionName"] == "New"


@pytest.mark.parametrize("body", [GOOD, b""], ids=["body", "empty"])
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "json",
        "text/plain",
        "text/json",
        "*/*",
        "application/*",
        "application/json5",
        "application/x-json",
        "application/merge-patch+json",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json, text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json; charset=",
        "application/json; charset=no-such-charset",
        "application/json; charset=base64",
    ],
)
def test_other_content_type_is_415(manager, assert_refused, content_type, body):
    response = call(manager, body, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(len(body)))

    assert_refused(response, 415, "4150")


# RFC 2231 parameters, which Django parses before any middleware.
@pytest.mark.parametrize(
    "charset",
    [
        "charset*=no-such''utf-8",
        "charset*=utf-16''utf-8",
        "x*=1; x*0*=2; x*1*=3",
    ],
)
def test_unreadable_content_type_is_415(manager, assert_refused, charset):
    content_type = f"application/json; {charset}"

    response = call(manager, GOOD, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(len(GOOD)))

    assert_refused(response, 415, "4150")


# Python's parser would take minutes for 400 KB of semicolons.
@pytest.mark.parametrize("body", [GOOD, b""])
def test_long_content_type_is_415(manager, assert_refused, body):
    content_type = 'application/json; x="' + ";" * 1_000

    response = call(manager, body, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(len(body)))

    assert_refused(response, 415, "4150")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b"}",
        b"{} {}",
        b"{}x",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 01}',
        b'{"a": .5}',
        b'{"a": undefined}',
        b'{"connectionBizId": "sc_abc123" // comment\n}',
        b'{"connectionBizId": "sc_abc123", "connectionName": "two\nlines"}',
        b'{"connectionBizId": "sc_abc123", "connectionName": "raw \0 NUL"}',
        b'{"connectionBizId": "sc_abc123", "connectionName": "bad \\x escape"}',
        b'{"connectionBizId": "sc_abc123", "status": NaN}',
        b'{"connectionBizId": "sc_abc123", "status": Infinity}',
        b'{"connectionBizId": "sc_abc123", "status": -Infinity}',
        b"NaN",
        b"null",
        b"true",
        b"1",
        b'"{}"',
        b"[]",
        b"[" + GOOD + b"]",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-16-le"),
        GOOD.decode().encode("utf-32"),
        b'{"connectionBizId": "sc_abc123", "connectionName": "Z\xfcrich"}',
        b'{"connectionBizId": "sc_abc123", "connectionName": "overlong \xc0\xaf"}',
        b'{"connectionBizId": "sc_abc123", "connectionName": "surrogate \xed\xa0\x80"}',
        b'{"connectionBizId": "sc_abc123", "status": ' + b"9" * 5_000 + b"}",
        b"connectionBizId=sc_abc123&connectionName=New",
    ],
    ids=range(34),
)
def test_body_that_is_not_a_json_object_is_refused(manager, assert_refused, body):
    response = call(manager, body, CONTENT_LENGTH=str(len(body)))

    field, code = only_error(assert_refused(response, 400, "4000"))
    assert field is None
    assert code in {"not_json", "not_an_object", "not_utf8"}


@pytest.mark.parametrize(
    "body",
    [
        '{"connectionBizId": "sc_abc123", "connectionBizId": "sc_abc123"}',
        '{"connectionBizId": "sc_abc123", "connectionName": "a", "connectionName": "b"}',
        '{"connectionBizId": "sc_abc123", "connectionName": "a", "connection\\u004eame": "b"}',
        '{"connectionBizId": "sc_abc123", "status": {"a": 1, "a": 1}}',
        '{"connectionBizId": "sc_abc123", "status": [[{"a": [{"b": 1, "c": 2, "b": 3}]}]]}',
    ],
    ids=["same", "different", "escaped", "nested", "deep"],
)
def test_duplicate_key_is_refused_at_any_depth(manager, assert_refused, body):
    response = manager.update(body.encode())

    assert only_error(assert_refused(response, 400, "4000")) == (None, "not_json")


def nested(levels, opening, closing):
    """Return a JSON value with `levels` levels."""
    return (opening * levels + "1" + closing * levels).encode()


def with_value(value, name=b"status"):
    """Return a good body with `value` in a field, by default in an ignored one."""
    return b'{"connectionBizId": "sc_abc123", "' + name + b'": ' + value + b"}"


@pytest.mark.parametrize(
    ("opening", "closing", "levels"), [("[", "]", 99), ('{"a":', "}", 99), ('[{"a":', "}]", 49)]
)
def test_body_of_100_levels_is_read(manager, connection, opening, closing, levels):
    response = manager.update(with_value(nested(levels, opening, closing)))

    assert response.status_code == 200


def test_brackets_in_text_and_siblings_are_not_depth(manager, connection):
    response = manager.update(with_value(b'["' + b"[" * 200 + b'"' + b",[{}]" * 200 + b"]"))

    assert response.status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        nested(100, "[", "]"),
        nested(100, '{"a":', "}"),
        nested(50, '[{"a":', "}]"),
        b"[1, " + nested(99, "[", "]") + b", 1]",
        nested(30_000, "[", "]"),
        nested(9_000, '{"a":', "}"),
        b"[" * 60_000,
    ],
    ids=["lists", "objects", "both", "beside", "many lists", "many objects", "open"],
)
@pytest.mark.parametrize("name", [b"status", b"connectionName"])
def test_body_deeper_than_100_levels_is_400(manager, assert_refused, name, value):
    response = manager.update(with_value(value, name))

    assert only_error(assert_refused(response, 400, "4000")) == (None, "not_json")


def test_body_of_64_kib_is_read(manager, connection):
    response = manager.update(padded(LIMIT))

    assert response.status_code == 200


@pytest.mark.parametrize("size", [LIMIT + 1, 5 * LIMIT])
def test_longer_body_is_413(manager, assert_refused, size):
    response = manager.update(padded(size))

    assert_refused(response, 413, "4130")


@pytest.mark.parametrize("length", [str(LIMIT + 1), str(10**12), "0" + "9" * 99])
def test_too_large_content_length_is_413(manager, assert_refused, length):
    response = call(manager, GOOD, CONTENT_LENGTH=length)

    assert_refused(response, 413, "4130")


@pytest.mark.parametrize(
    "length", ["-1", "+57", "5 7", "57,57", "0x10", "1e3", "9" * 5_000, "٥٧"], ids=range(8)
)
def test_malformed_length_is_400(manager, assert_refused, length):
    response = call(manager, GOOD, CONTENT_LENGTH=length)

    assert_refused(response, 400, "4000")


@pytest.mark.parametrize("length", ["", "0", "00"])
def test_body_without_length_is_empty(manager, assert_refused, length):
    response = call(manager, GOOD, CONTENT_LENGTH=length)

    body = assert_refused(response, 400, "4000")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [(None, "not_json")]


@pytest.mark.parametrize("body", [GOOD, padded(LIMIT)], ids=["short", "limit"])
def test_chunked_body_is_read(manager, connection, body):
    response = call_chunked(manager, body)

    assert response.status_code == 200
    assert response.json()["data"]["connectionName"] == "New"


@pytest.mark.parametrize("size", [LIMIT + 1, 5 * LIMIT])
def test_longer_chunked_body_is_413(manager, assert_refused, size):
    response = call_chunked(manager, padded(size))

    assert_refused(response, 413, "4130")


def test_chunked_body_is_not_read_beyond_the_limit(manager, assert_refused):
    stream = BytesIO(padded(5 * LIMIT))

    call_chunked(manager, b"", **{"wsgi.input": stream})

    assert stream.tell() == LIMIT + 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [(b"", 400, "4000"), (b"{", 400, "4000"), (GOOD + b"x", 400, "4000")],
    ids=["empty", "open", "trailing"],
)
def test_chunked_body_is_checked_like_any_other(manager, assert_refused, body, status, code):
    response = call_chunked(manager, body)

    assert only_error(assert_refused(response, status, code)) == (None, "not_json")


def test_chunked_body_without_content_type_is_415(manager, assert_refused):
    response = call_chunked(manager, GOOD, CONTENT_TYPE="")

    assert_refused(response, 415, "4150")


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("apikey", "apiKey"),
        ("api_key", "apiKey"),
        ("APIKEY", "apiKey"),
        ("apiKeys", "apiKey"),
        ("webhook_secret", "webhookSecret"),
        ("webhookSecrect", "webhookSecret"),
        ("webhook", "webhookSecret"),
        ("name", "connectionName"),
        ("description", "connectionDescription"),
        ("connection_biz_id", "connectionBizId"),
        ("accountId", "stripeAccountId"),
        ("endpoint", "partnerEndpoint"),
        ("config", "configJson"),
        ("Status", "status"),
    ],
)
def test_unknown_name_is_refused_with_a_suggestion(manager, assert_refused, name, likely):
    response = manager.update(NAMED | {name: "x"})

    assert assert_refused(response, 400, "4000")["errors"] == [
        {"field": name, "code": "unknown", "message": f"Unknown field. Did you mean {likely}?"}
    ]


@pytest.mark.parametrize("name", ["workspaceId", "x", "_", "zzzz", "a" * 40])
def test_unknown_name_without_a_similar_one_is_refused(manager, assert_refused, name):
    response = manager.update(NAMED | {name: None})

    error = only_error(assert_refused(response, 400, "4000"))
    assert error == (name, "unknown")


@pytest.mark.parametrize(
    "name",
    [
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
    ],
    ids=ascii,
)
def test_name_that_may_be_a_secret_is_not_repeated(manager, assert_refused, name):
    response = manager.update(NAMED | {name: "x"})

    [error] = assert_refused(response, 400, "4000")["errors"]
    assert (error["field"], error["code"]) == (None, "unknown")
    assert "withheld" in error["message"]


def test_api_key_as_a_name_is_not_repeated(manager, assert_refused):
    api_key = random_api_key()

    response = manager.update(NAMED | {api_key: "apiKey"})

    assert_refused(response, 400, "4000")
    assert api_key[-12:] not in response.content.decode()


@pytest.mark.parametrize("name", ["connectionname", "CONNECTIONNAME", "ConnectionName"])
def test_names_are_case_sensitive(manager, assert_refused, name):
    response = manager.update({"connectionBizId": "sc_abc123", name: "New"})

    assert only_error(assert_refused(response, 400, "4000")) == (name, "unknown")


@pytest.mark.parametrize(
    "name", ["bizId", "tenantBizId", "status", "statusName", "createdAt", "updatedAt"]
)
@pytest.mark.parametrize("value", [None, "sc_other", 0, 1.5, True, [], {"a": [None]}], ids=repr)
def test_read_only_name_is_ignored(manager, connection, name, value):
    before = manager.update({"connectionBizId": "sc_abc123"}).json()["data"]

    response = manager.update({"connectionBizId": "sc_abc123", name: value})

    assert response.status_code == 200
    assert response.json()["data"] == before


@pytest.mark.parametrize(
    "value", ["\0", "\ud800", ["\0"], {"a": {"\ud800": 1}}], ids=["nul", "surrogate", "in", "name"]
)
def test_nul_and_lone_surrogates_are_refused_in_ignored_fields_too(manager, assert_refused, value):
    response = manager.update(NAMED | {"status": value})

    assert only_error(assert_refused(response, 400, "4000")) == ("status", "invalid_characters")


@pytest.mark.parametrize(
    "query",
    [
        "format=xml",
        "format=",
        "_method=DELETE",
        "connectionName=Other&connectionBizId=sc_other",
        "page=1&lang=de",
        "%ff=%00&a=%f",
        "&".join("a" * 2_000),
        "=&" * 3_000,
    ],
    ids=range(8),
)
@pytest.mark.parametrize("charset", ["", ";charset=utf-8", ";charset=UTF8"])
def test_query_string_is_ignored(manager, connection, query, charset):
    response = call(
        manager,
        GOOD,
        QUERY_STRING=query,
        CONTENT_TYPE=f"application/json{charset}",
        CONTENT_LENGTH=str(len(GOOD)),
    )

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["data"]["connectionName"] == "New"


@pytest.mark.parametrize("header", ["GET", "DELETE", "PUT"])
def test_method_override_is_ignored(manager, connection, header):
    response = manager.update(GOOD, headers={"X-HTTP-Method-Override": header})

    assert response.status_code == 200


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
