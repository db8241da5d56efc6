"""The rules for changes from one version of the API to the next."""

import itertools
import json

import pytest

from config.openapi.views import document
from tests import openapi_changes
from tests.openapi_changes import adds, breaks, is_released, kept, refusal

UPDATE = "/web/v1/workspaces/{workspaceId}/stripe/connections/update"


def with_one_call():
    """Return the document without the other calls, because to compare them takes most of a test."""
    whole = json.loads(document())
    return whole | {"paths": {UPDATE: whole["paths"][UPDATE]}}


DOCUMENT = with_one_call()
CALL = DOCUMENT["paths"][UPDATE]["post"]
SCHEMAS = ("components", "schemas")
BODY = (*SCHEMAS, "UpdateConnection")
DATA = (*SCHEMAS, "StripeConnection")
RESPONSES = ("paths", UPDATE, "post", "responses")
GONE = object()


def changed(*path, to=GONE, version="1.3.0"):
    """Return the document with one value set or removed."""
    # To parse it is several times as fast as a deep copy.
    new = with_one_call()
    new["info"]["version"] = version
    item = new
    for step in path[:-1]:
        item = item[step]
    if to is GONE:
        del item[path[-1]]
    else:
        item[path[-1]] = to
    return new


def required(*names):
    return [*DOCUMENT["components"]["schemas"]["StripeConnection"]["required"], *names]


BREAKING = {
    "call gone": changed("paths", UPDATE),
    "method gone": changed("paths", UPDATE, to={"put": CALL}),
    "parameter gone": changed("paths", UPDATE, "post", "parameters", 1),
    "parameter required": changed(
        "paths", UPDATE, "post", "parameters", 1, "required", to=True
    ),
    "parameter added that is required": changed(
        "paths", UPDATE, "post", "parameters",
        to=[*CALL["parameters"], {"name": "x", "in": "query", "required": True, "schema": {}}],
    ),
    "security": changed("paths", UPDATE, "post", "security", to=[{"token": [], "portal": []}]),
    "body gone": changed("paths", UPDATE, "post", "requestBody"),
    "kind of body gone": changed(*SCHEMAS, "UpdateBody", "oneOf", 1),
    "field gone": changed(*BODY, "properties", "configJson"),
    "field required": changed(*BODY, "required", to=["connectionBizId", "connectionName"]),
    "field not null": changed(*BODY, "properties", "configJson", "type", to="string"),
    "field of another type": changed(*BODY, "properties", "apiKey", "type", to="integer"),
    "field longer": changed(*BODY, "properties", "connectionName", "minLength", to=2),
    "field shorter": changed(*BODY, "properties", "connectionName", "maxLength", to=127),
    "field with a limit": changed(*BODY, "properties", "apiKey", "maxLength", to=100),
    "field of another pattern": changed(*BODY, "properties", "apiKey", "pattern", to="^sk_"),
    "field with an enum": changed(*BODY, "properties", "apiKey", "enum", to=["x"]),
    "answer gone": changed(*RESPONSES, "200"),
    "error gone": changed(*RESPONSES, "412"),
    "header gone": changed(*RESPONSES, "200", "headers", "ETag"),
    "body of an answer gone": changed(*RESPONSES, "200", "content"),
    "data field gone": changed(*DATA, "properties", "status"),
    "data field may be missing": changed(*DATA, "required", to=["bizId"]),
    "data field may be null": changed(
        *DATA, "properties", "connectionName", "type", to=["string", "null"]
    ),
    "data field of another type": changed(*DATA, "properties", "status", "type", to="string"),
    "data field of another pattern": changed(*DATA, "properties", "createdAt", "pattern", to=".*"),
    "envelope": changed(*SCHEMAS, "Error404", "properties", "timestamp", "type", to="string"),
    "code": changed(*SCHEMAS, "Error404", "properties", "code", "const", to="4041"),
    "list of errors": changed(*SCHEMAS, "FieldError", "properties", "field"),
}  # fmt: skip
COMPATIBLE = {
    "call": changed("paths", "/web/v1/new", to={"get": CALL}),
    "method": changed("paths", UPDATE, "get", to=CALL),
    "parameter": changed(
        "paths", UPDATE, "post", "parameters",
        to=[*CALL["parameters"], {"name": "x", "in": "query", "schema": {}}],
    ),
    "kind of body": changed(
        *SCHEMAS, "UpdateBody", "oneOf",
        to=[*DOCUMENT["components"]["schemas"]["UpdateBody"]["oneOf"], {"type": "array"}],
    ),
    "field": changed(*BODY, "properties", "new", to={"type": "string"}),
    "longer field": changed(*BODY, "properties", "connectionName", "maxLength", to=200),
    "field without a pattern": changed(*BODY, "properties", "apiKey", "pattern"),
    "null": changed(*BODY, "properties", "apiKey", "type", to=["string", "null"]),
    "status": changed(*RESPONSES, "402", to=CALL["responses"]["404"]),
    "header": changed(*RESPONSES, "404", "headers", to=CALL["responses"]["200"]["headers"]),
    "data field": changed(*DATA, "properties", "new", to={"type": "string"}),
    "data value": changed(*DATA, "properties", "status", "enum", to=[0, 1, 2]),
    "code of a bad field": changed(
        *SCHEMAS, "FieldError", "properties", "code", "enum", to=["required", "new"]
    ),
}  # fmt: skip
WORDS = {
    "description": changed("paths", UPDATE, "post", "description", to="Other words"),
    "description of a field": changed(*BODY, "properties", "apiKey", "description", to="Other"),
    "example": changed(*RESPONSES, "200", "content", "application/json", "example"),
}


def released_as(document, version):
    return document | {"info": document["info"] | {"version": version}}


@pytest.mark.parametrize("new", BREAKING.values(), ids=BREAKING)
def test_breaking_change_needs_a_new_major_version(new):
    assert breaks(DOCUMENT, new)
    assert "breaks clients" in refusal(DOCUMENT, new, is_released=False)
    assert "breaks clients" in refusal(DOCUMENT, released_as(new, "1.4.0"), is_released=True)
    assert refusal(DOCUMENT, released_as(new, "2.0.0"), is_released=True) is None


@pytest.mark.parametrize("new", COMPATIBLE.values(), ids=COMPATIBLE)
def test_addition_needs_a_new_minor_version_after_a_release(new):
    assert breaks(DOCUMENT, new) == []
    assert adds(DOCUMENT, new)
    assert refusal(DOCUMENT, new, is_released=False) is None
    assert "is released" in refusal(DOCUMENT, new, is_released=True)
    assert "is released" in refusal(DOCUMENT, released_as(new, "1.3.1"), is_released=True)
    assert refusal(DOCUMENT, released_as(new, "1.4.0"), is_released=True) is None


@pytest.mark.parametrize("new", WORDS.values(), ids=WORDS)
def test_descriptions_may_change(new):
    assert not adds(DOCUMENT, new)
    assert refusal(DOCUMENT, new, is_released=True) is None


def test_document_is_the_stored_one():
    current = json.loads(document())
    name = f"{current['info']['version']}.json"

    assert kept().get(name) == current, f"The API has changed: `make schema`, and commit {name}."


def test_each_stored_version_may_follow_the_previous_one():
    pairs = itertools.pairwise(kept().values())

    assert [why for old, new in pairs if (why := refusal(old, new, is_released=True))] == []


def test_file_is_named_by_its_version():
    assert [f"{item['info']['version']}.json" for item in kept().values()] == list(kept())


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "CHANGELOG.md").write_text("## 1.4.0 — unreleased\n\n## 1.3.0 — 2026-11-28\n")
    monkeypatch.setattr(openapi_changes, "ROOT", tmp_path)
    monkeypatch.setattr(openapi_changes, "KEPT", tmp_path / "kept")
    openapi_changes.main(json.dumps(DOCUMENT))


def test_allowed_change_is_written(elsewhere):
    openapi_changes.main(json.dumps(released_as(COMPATIBLE["field"], "1.4.0")))

    assert list(kept()) == ["1.3.0.json", "1.4.0.json"]


@pytest.mark.parametrize("new", [BREAKING["call gone"], COMPATIBLE["call"]])
def test_refused_change_is_not_written(elsewhere, new):
    with pytest.raises(SystemExit, match="API_VERSION"):
        openapi_changes.main(json.dumps(new))

    assert list(kept().values()) == [DOCUMENT]


def test_version_is_released_if_its_heading_has_a_date(elsewhere):
    assert is_released(DOCUMENT)
    assert not is_released(released_as(DOCUMENT, "1.3"))
    assert not is_released(released_as(DOCUMENT, "1.4.0"))
