"""The body of the update call: media type, length and JSON syntax."""

from io import BytesIO

import pytest

from tests.conftest import errors_of
from tests.wsgi import call, call_chunked

pytestmark = pytest.mark.only_on("sqlite", reason="parsing does not depend on the database")

UNTOUCHED = pytest.mark.usefixtures("untouched")
LIMIT = 64 * 1024
NOT_JSON = [(None, "not_json")]
GOOD = b'{"connectionBizId": "sc_abc123", "connectionName": "New"}'


def padded(size):
    """Return a good body of `size` bytes."""
    return GOOD + b" " * (size - len(GOOD))


JSON_TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    'application/json; charset="utf-8"',
    "Application/JSON; Charset=UTF8",
    "application/json; version=1",
    " application/json ",
]


def test_json_in_utf8_is_read(manager, connection):
    found = {sent: name_after(manager.update(GOOD, content_type=sent)) for sent in JSON_TYPES}

    assert found == dict.fromkeys(JSON_TYPES, (200, "New"))


def name_after(response):
    return response.status_code, response.json().get("data", {}).get("connectionName")


OTHER_TYPES = [
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
    # RFC 2231 parameters, which Django parses before any middleware.
    "application/json; charset*=no-such''utf-8",
    "application/json; charset*=utf-16''utf-8",
    "application/json; x*=1; x*0*=2; x*1*=3",
    # Python's parser would take minutes for 400 KB of semicolons.
    'application/json; x="' + ";" * 1_000,
]


@UNTOUCHED
@pytest.mark.parametrize("body", [GOOD, b""], ids=["body", "empty"])
def test_other_content_type_is_415(manager, body):
    length = str(len(body))
    found = {
        sent: call(manager, body, CONTENT_TYPE=sent, CONTENT_LENGTH=length).status_code
        for sent in OTHER_TYPES
    }

    assert found == dict.fromkeys(OTHER_TYPES, 415)


NOT_OBJECTS = [
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
]


@UNTOUCHED
def test_body_that_is_not_a_json_object_is_refused(manager):
    found = {
        body: errors_of(call(manager, body, CONTENT_LENGTH=str(len(body)))) for body in NOT_OBJECTS
    }

    codes = ("not_json", "not_an_object", "not_utf8")
    expected = [(400, [(None, code)]) for code in codes]
    assert {body: answer for body, answer in found.items() if answer not in expected} == {}


DUPLICATES = [
    '{"connectionBizId": "sc_abc123", "connectionBizId": "sc_abc123"}',
    '{"connectionBizId": "sc_abc123", "connectionName": "a", "connectionName": "b"}',
    '{"connectionBizId": "sc_abc123", "connectionName": "a", "connection\\u004eame": "b"}',
    '{"connectionBizId": "sc_abc123", "status": {"a": 1, "a": 1}}',
    '{"connectionBizId": "sc_abc123", "status": [[{"a": [{"b": 1, "c": 2, "b": 3}]}]]}',
]


@UNTOUCHED
def test_duplicate_key_is_refused_at_any_depth(manager):
    found = {body: errors_of(manager.update(body.encode())) for body in DUPLICATES}

    assert found == dict.fromkeys(DUPLICATES, (400, NOT_JSON))


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


DEEP = {
    "lists": nested(100, "[", "]"),
    "objects": nested(100, '{"a":', "}"),
    "both": nested(50, '[{"a":', "}]"),
    "beside": b"[1, " + nested(99, "[", "]") + b", 1]",
    "many lists": nested(30_000, "[", "]"),
    "many objects": nested(9_000, '{"a":', "}"),
    "open": b"[" * 60_000,
}


@UNTOUCHED
@pytest.mark.parametrize("name", [b"status", b"connectionName"])
def test_body_deeper_than_100_levels_is_400(manager, name):
    found = {
        kind: errors_of(manager.update(with_value(value, name))) for kind, value in DEEP.items()
    }

    assert found == dict.fromkeys(DEEP, (400, NOT_JSON))


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


@UNTOUCHED
def test_malformed_length_is_400(manager):
    lengths = ["-1", "+57", "5 7", "57,57", "0x10", "1e3", "9" * 5_000, "٥٧"]
    found = {sent: call(manager, GOOD, CONTENT_LENGTH=sent).status_code for sent in lengths}

    assert found == dict.fromkeys(lengths, 400)


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


@UNTOUCHED
@pytest.mark.parametrize("body", [b"", b"{", GOOD + b"x"], ids=["empty", "open", "trailing"])
def test_chunked_body_is_checked_like_any_other(manager, body):
    assert errors_of(call_chunked(manager, body)) == (400, NOT_JSON)


def test_chunked_body_without_content_type_is_415(manager, assert_refused):
    response = call_chunked(manager, GOOD, CONTENT_TYPE="")

    assert_refused(response, 415, "4150")


QUERIES = [
    "format=xml",
    "format=",
    "_method=DELETE",
    "connectionName=Other&connectionBizId=sc_other",
    "page=1&lang=de",
    "%ff=%00&a=%f",
    "&".join("a" * 2_000),
    "=&" * 3_000,
]


# Django reads the query in the charset of the Content-Type.
@pytest.mark.parametrize("charset", ["", ";charset=utf-8", ";charset=UTF8"])
def test_query_string_is_ignored(manager, connection, charset):
    def sent(query):
        media_type, length = f"application/json{charset}", str(len(GOOD))
        headers = {"CONTENT_TYPE": media_type, "CONTENT_LENGTH": length}
        response = call(manager, GOOD, QUERY_STRING=query, **headers)
        return *name_after(response), response.headers["Content-Type"]

    found = {query: sent(query) for query in QUERIES}
    assert found == dict.fromkeys(QUERIES, (200, "New", "application/json"))


@pytest.mark.parametrize("header", ["GET", "DELETE", "PUT"])
def test_method_override_is_ignored(manager, connection, header):
    response = manager.update(GOOD, headers={"X-HTTP-Method-Override": header})

    assert response.status_code == 200
