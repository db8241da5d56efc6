"""The OpenAPI document: its content, its page, and the checks of responses against it."""

import json
import re

import pytest
from django.conf import settings
from django.urls import get_resolver
from jsonschema_rs import Draft202012Validator, Registry

from config.openapi.views import document
from config.web_chain import envelope
from config.web_chain.envelope import failure_response
from config.web_chain.serializers import StrictCharField
from stripe_connections.api import serializers
from tests.conftest import ApiClient, update_path
from tests.openapi import ROOT, Described, UndocumentedAnswerError, described
from workspaces.serializers import (
    CredentialsSerializer,
    RefreshTokenSerializer,
    WorkspacePageSerializer,
)

DOCUMENT = json.loads(document())
CONNECTIONS = "/web/v1/workspaces/{workspaceId}/stripe/connections"
UPDATE = f"{CONNECTIONS}/update"
OPERATIONS = [
    (f"{method} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
ANSWER = {
    "version": "1.3.0",
    "timestamp": 1709337600000,
    "success": True,
    "code": "2000",
    "message": "SUCCESS",
    "data": {
        "bizId": "sc_abc123",
        "tenantBizId": "tn_xyz789",
        "connectionName": "Updated Stripe Connection",
        "connectionDescription": "Updated description",
        "stripeAccountId": "acct_1234567890",
        "partnerEndpoint": "https://partner.example.com/webhook",
        "configJson": None,
        "status": 1,
        "statusName": "ACTIVE",
        "createdAt": "2026-03-21T00:00:00Z",
        "updatedAt": "2026-03-21T01:00:00Z",
    },
}
PATH = update_path()
HEADERS = {"X-Request-Id": "the-id", "Cache-Control": "no-store", "ETag": '"2"'}


SCHEMAS = DOCUMENT["components"]["schemas"]
BODIES = {
    "UpdateConnection": serializers.UpdateConnectionSerializer(),
    "SentBackConnection": serializers.SentBackConnectionSerializer(),
    "CreateConnection": serializers.CreateConnectionSerializer(),
    "ConnectionStatus": serializers.ConnectionStatusSerializer(),
    "VerifyConnection": serializers.VerifyConnectionSerializer(),
    "RestoreSecret": serializers.RestoreSecretSerializer(),
    "Credentials": CredentialsSerializer(),
    "RefreshToken": RefreshTokenSerializer(),
}
FIELDS = [
    (body, name)
    for body, serializer in BODIES.items()
    for name, field in serializer.fields.items()
    if isinstance(field, StrictCharField)
]


def field(name):
    return SCHEMAS["UpdateConnection"]["properties"][name]


def api_paths(patterns, prefix="/"):
    """Yield the paths under /web/ in the document's spelling."""
    for pattern in patterns:
        path = f"{prefix}{pattern.pattern}"
        if hasattr(pattern, "url_patterns"):
            yield from api_paths(pattern.url_patterns, path)
        elif path.startswith("/web/"):
            path = re.sub("<str:([a-z_]+)>", r"{\1}", path)
            yield re.sub("_([a-z])", lambda found: found[1].upper(), path)


def examples():
    """Yield every example with the pointer to its schema."""
    operations = [
        (f"#/paths/{call.split()[1].replace('/', '~1')}/{call.split()[0]}", operation)
        for call, operation in OPERATIONS
    ]
    bodies = [
        (f"{pointer}/requestBody", operation["requestBody"])
        for pointer, operation in operations
        if "requestBody" in operation
    ]
    answers = [
        (f"{pointer}/responses/{status}", answer)
        for pointer, operation in operations
        for status, answer in operation["responses"].items()
        if "$ref" not in answer
    ]
    shared = [
        (f"#/components/responses/{name}", answer)
        for name, answer in DOCUMENT["components"]["responses"].items()
    ]
    for pointer, item in bodies + answers + shared:
        content = item["content"]["application/json"]
        shown = content.get("examples") or {"example": {"value": content["example"]}}
        for name, example in shown.items():
            yield pytest.param(pointer, example["value"], id=f"{pointer[8:]} {name}")


@pytest.mark.parametrize("body", BODIES)
def test_no_field_of_a_body_has_a_default(body):
    """Generated clients would send the default instead of omitting the field."""
    assert not [name for name, what in SCHEMAS[body]["properties"].items() if "default" in what]


def test_document_is_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == settings.API_VERSION == "1.3.0"
    # Imported here, because it takes almost a second and only this test needs it.
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    Draft202012Validator(OPENAPI_31).validate(DOCUMENT)


def test_document_has_every_call():
    assert {call: operation["operationId"] for call, operation in OPERATIONS} == {
        "post /web/v1/auth/token": "obtainToken",
        "post /web/v1/auth/token/refresh": "refreshToken",
        f"get {CONNECTIONS}": "listConnections",
        f"get {CONNECTIONS}/{{connectionBizId}}/history": "getHistory",
        f"post {CONNECTIONS}/create": "createConnection",
        f"get {CONNECTIONS}/{{connectionBizId}}": "getConnection",
        f"post {UPDATE}": "updateConnection",
        f"post {CONNECTIONS}/verify": "verifyConnection",
        f"post {CONNECTIONS}/restore": "restoreSecret",
        f"post {CONNECTIONS}/status": "setStatus",
        "get /web/v1/workspaces": "listWorkspaces",
    }


def test_document_has_every_path_of_the_service():
    assert set(api_paths(get_resolver().url_patterns)) == set(DOCUMENT["paths"])


@pytest.mark.parametrize(("name", "serializer"), BODIES.items())
def test_body_has_the_names_of_its_serializer(name, serializer):
    schema, ignored = SCHEMAS[name], serializer.ignored_names
    required = {name for name, field in serializer.fields.items() if field.required}

    assert set(schema["properties"]) - ignored == set(serializer.fields)
    assert set(schema["required"]) - ignored == required
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("body", "name"), FIELDS)
def test_field_has_the_rules_of_its_serializer(body, name):
    rules, rule = SCHEMAS[body]["properties"][name], BODIES[body].fields[name]

    assert rules["type"] == (["string", "null"] if rule.allow_null else "string")
    assert rules.get("minLength") == (None if rule.allow_blank else 1)
    assert rule.max_length in {None, rules.get("maxLength")}


@pytest.mark.parametrize(
    ("path", "serializer"),
    [
        (CONNECTIONS, serializers.PageSerializer()),
        (f"{CONNECTIONS}/{{connectionBizId}}/history", serializers.HistoryPageSerializer()),
        ("/web/v1/workspaces", WorkspacePageSerializer()),
    ],
)
def test_query_has_the_names_of_its_serializer(path, serializer):
    parameters = DOCUMENT["paths"][path]["get"]["parameters"]

    assert {p["name"] for p in parameters if p.get("in") == "query"} == set(serializer.fields)


def test_document_has_the_documented_example_verbatim():
    shown = DOCUMENT["paths"][UPDATE]["post"]["responses"]["200"]["content"]["application/json"]

    assert json.dumps(shown["example"]) == json.dumps(ANSWER)


@pytest.mark.parametrize(("pointer", "value"), list(examples()))
def test_example_matches_its_schema(pointer, value):
    schema = {
        "$ref": f"{ROOT}{pointer}/content/application~1json/schema".replace("{", "%7B").replace(
            "}", "%7D"
        )
    }

    Draft202012Validator(schema, registry=Registry([(ROOT, DOCUMENT)])).validate(value)


def test_every_call_has_the_common_errors():
    common = {str(status) for status in envelope.ERRORS.keys() - {404, 409, 412, 422}}

    missing = {call: common - operation["responses"].keys() for call, operation in OPERATIONS}
    assert missing == {call: set() for call, _ in OPERATIONS}


def test_calls_on_one_connection_have_a_404():
    without = [call for call, operation in OPERATIONS if "404" not in operation["responses"]]

    assert without == [
        "get /web/v1/workspaces",
        f"get {CONNECTIONS}",
        f"post {CONNECTIONS}/create",
    ]


def test_update_has_the_precondition():
    operation = DOCUMENT["paths"][UPDATE]["post"]

    assert "412" in operation["responses"]
    assert [parameter.get("name") for parameter in operation["parameters"]] == [
        "workspaceId",
        "If-Match",
        None,
    ]
    assert "ETag" in operation["responses"]["200"]["headers"]


@pytest.mark.parametrize(("call", "operation"), OPERATIONS)
def test_every_call_has_the_request_id_and_its_security(call, operation):
    needed = {} if "/auth/" in call else {"token": []}

    assert {"$ref": "#/components/parameters/X-Request-Id"} in operation["parameters"]
    assert operation["security"] == [needed, needed | {"portal": []}]


def test_schema_of_the_data_has_the_names_of_the_response(manager, connection):
    shown = manager.update({"connectionBizId": "sc_abc123"}).json()["data"]

    assert list(SCHEMAS["StripeConnection"]["properties"]) == list(shown)
    assert set(SCHEMAS["StripeConnection"]["required"]) == set(shown)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("connectionBizId", 64),
        ("connectionName", 128),
        ("connectionDescription", 1_000),
        ("stripeAccountId", 255),
        ("apiKey", 1_024),
        ("webhookSecret", 1_024),
        ("partnerEndpoint", 2_048),
        ("configJson", 16_384),
    ],
)
def test_field_has_its_maximum_length(name, length):
    assert field(name)["maxLength"] == length


@pytest.mark.parametrize(
    ("name", "is_nullable"),
    [
        ("connectionBizId", False),
        ("connectionName", False),
        ("connectionDescription", True),
        ("stripeAccountId", True),
        ("apiKey", False),
        ("webhookSecret", False),
        ("partnerEndpoint", True),
        ("configJson", True),
    ],
)
def test_field_allows_null_if_it_can_be_cleared(name, is_nullable):
    assert field(name)["type"] == (["string", "null"] if is_nullable else "string")


def test_only_secrets_are_write_only():
    properties = SCHEMAS["UpdateConnection"]["properties"]

    assert [name for name, rules in properties.items() if rules.get("writeOnly")] == [
        "apiKey",
        "webhookSecret",
    ]


def test_document_is_served_and_can_be_revalidated(client):
    answer = client.get("/openapi.json", secure=True)

    assert answer.json() == DOCUMENT
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "private, no-cache"
    again = client.get("/openapi.json", headers={"If-None-Match": answer["ETag"]}, secure=True)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/"])
def test_document_and_page_can_only_be_read(client, path):
    assert client.post(path, secure=True).status_code == 405
    assert client.options(path, secure=True).status_code == 405


def test_page_has_no_inline_code_and_loads_nothing_from_other_hosts(client):
    page = client.get("/docs/", secure=True)

    assert "unsafe-inline" not in page["Content-Security-Policy"]
    assert b"<style" not in page.content
    assert b"<script>" not in page.content
    assert b"//" not in page.content


@pytest.mark.django_db
def test_document_needs_no_query(client, django_assert_num_queries):
    document.cache_clear()

    with django_assert_num_queries(0):
        client.get("/openapi.json", secure=True)


def check(answer=ANSWER, *, status=200, path=PATH, method="POST", headers=HEADERS):
    described().check(method, path, status, headers, json.dumps(answer).encode())


def test_documented_response_passes():
    check()


@pytest.mark.parametrize(
    "change",
    [
        {"answer": ANSWER | {"extra": 1}},
        {"answer": ANSWER | {"code": "4000"}},
        {"answer": ANSWER | {"timestamp": 1.5}},
        {"answer": ANSWER | {"data": ANSWER["data"] | {"status": 2}}},
        {"answer": ANSWER | {"data": ANSWER["data"] | {"apiKey": "shown"}}},
        {"answer": ANSWER | {"data": ANSWER["data"] | {"connectionName": None}}},
        {"answer": ANSWER | {"data": ANSWER["data"] | {"createdAt": "2026-03-21T00:00:00.1Z"}}},
        {"answer": ANSWER | {"data": ANSWER["data"] | {"createdAt": "2026-03-32T00:00:00Z"}}},
        {"answer": {key: value for key, value in ANSWER.items() if key != "data"}},
        {"answer": {key: value for key, value in ANSWER.items() if key != "version"}},
        {"status": 201},
        {"status": 418},
        {"method": "GET"},
        {"path": "/web/v1/unknown"},
        {"headers": HEADERS | {"Cache-Control": "public"}},
        {"headers": HEADERS | {"ETag": 'W/"2"'}},
        {"headers": HEADERS | {"X-Request-Id": "a b"}},
        {"headers": {key: value for key, value in HEADERS.items() if key != "ETag"}},
    ],
)
def test_undocumented_response_fails(change):
    with pytest.raises(UndocumentedAnswerError):
        check(**change)


@pytest.mark.parametrize(
    "errors",
    [
        [{"field": "apiKey", "code": "new", "message": "A code that is not documented"}],
        [{"field": "apiKey", "code": "null", "message": "…", "value": "shown"}],
        [{"field": 1, "code": "null", "message": "…"}],
        [],
    ],
)
def test_undocumented_list_of_errors_fails(errors):
    with pytest.raises(UndocumentedAnswerError):
        check(json.loads(failure_response(400).content) | {"errors": errors}, status=400)


def test_every_response_of_a_test_client_is_checked(db, monkeypatch):
    changed = json.loads(document())
    del changed["paths"][UPDATE]["post"]["responses"]["401"]
    monkeypatch.setattr("tests.openapi.described", lambda: Described(changed))

    with pytest.raises(UndocumentedAnswerError, match="status 401 is not documented"):
        ApiClient().update({})


def test_choices_of_a_query_are_those_of_the_code():
    """The document does not take them from the code."""
    parameters = DOCUMENT["paths"][CONNECTIONS]["get"]["parameters"]
    described = {
        parameter["name"]: set(parameter["schema"]["enum"])
        for parameter in parameters
        if "enum" in parameter.get("schema", {})
    }
    fields = serializers.PageSerializer().fields.items()
    accepted = {name: set(field.choices) for name, field in fields if hasattr(field, "choices")}
    shown = DOCUMENT["components"]["schemas"]["Verification"]["properties"]

    assert described == accepted
    assert accepted["cause"] | {None} == set(shown["cause"]["enum"])
    assert accepted["outcome"] == set(shown["outcome"]["enum"])
