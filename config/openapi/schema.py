"""The OpenAPI document: what drf-spectacular finds in the code, and what the code does not show.

Of a body, names, types, lengths and what is required come from its serializer. Words, patterns,
examples and the data of an answer come from the `openapi.yaml` of each app, and the envelope and
the errors of every call from the one in this directory.
"""

from pathlib import Path
from typing import Any

import yaml
from django.apps import apps
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema

from config.web_chain import envelope
from config.web_chain.serializers import StrictCharField

# An object of OpenAPI or of JSON Schema.
Description = dict[str, Any]

HEADERS = ("X-Request-Id", "Cache-Control")
# As a pattern: what every text may hold, and one that is not blank.
NO_NUL = r"^[^\u0000]*$"
NOT_BLANK = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
# The time in the examples.
TIMESTAMP = {"timestamp": 1709337600000}


def answer(name: str) -> Description:
    """For `extend_schema`: an answer whose data the `openapi.yaml` of an app describes."""
    return {"200": {"$ref": f"#/components/schemas/{name}"}}


class WebSchema(AutoSchema):
    """A call under `/web/`, which takes a token where its view asks for one."""

    def get_auth(self) -> list[Description]:
        """Each way with and without the portal's code, which is Nginx's to add."""
        needed: Description = {"token": []} if self.view.authentication_classes else {}
        return [needed, needed | {"portal": []}]


class OurSerializer(OpenApiSerializerExtension):
    """A serializer, with what is strict in a body."""

    target_class = "config.web_chain.serializers.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Description:
        body = self.target
        schema: Description = auto_schema._map_serializer(  # made for extensions
            body, direction, bypass_extensions=True
        )
        properties = schema["properties"]
        # The ignored names are left out: generated clients would offer them.
        schema["additionalProperties"] = False
        for name, field in body.fields.items():
            if isinstance(field, StrictCharField):
                properties[name] = _text_rules(field) | properties[name]
        return schema


def _text_rules(field: StrictCharField) -> Description:
    not_blank = {} if field.allow_blank else {"minLength": 1}
    return not_blank | {"pattern": NOT_BLANK if field.trim_whitespace else NO_NUL}


def complete(result: Description, **_kwargs: Any) -> Description:
    """Put in what the code does not show; a post-processing hook of drf-spectacular."""
    told: Description = {}
    for app in apps.get_app_configs():
        file = Path(app.path, "openapi.yaml")
        told = _merged(told, yaml.safe_load(file.read_text("utf-8")) if file.exists() else {})
    failures = told["failures"]
    responses = {_name(code): _failure(code, **words) for code, words in failures.items()}
    shared = {str(code): {"$ref": f"#/components/responses/{_name(code)}"} for code in failures}
    for name, schema in told["components"]["schemas"].items():
        if name not in result["components"]["schemas"] and "properties" in schema:
            # The data of an answer always has all of its keys.
            schema.setdefault("type", "object")
            schema.setdefault("required", sorted(schema["properties"]))
    result["components"] = _merged(result["components"], told["components"])
    result["components"]["responses"] = responses
    schemas = result["components"]["schemas"]
    # Without allOf, which generators of clients merge badly.
    frame = schemas.pop("Envelope")
    for code in envelope.ERRORS:
        schemas[_name(code)] = _envelope(frame, envelope.ERRORS[code][0])
    schemas[_name(400)]["properties"] |= schemas.pop("InvalidRequest")["properties"]
    for path in result["paths"].values():
        for operation in path.values():
            _complete_call(operation, shared, told["calls"][operation["operationId"]], frame)
    return result


def _complete_call(
    operation: Description, shared: Description, call: Description, frame: Description
) -> None:
    request_id = {"$ref": "#/components/parameters/X-Request-Id"}
    operation["parameters"] = [*call.get("parameters", []), request_id]
    operation |= {name: call[name] for name in ("tags", "summary", "description")}
    if "requestBody" in operation:
        # Not of a body that is one of several, if drf-spectacular had its way.
        operation["requestBody"]["required"] = True
        body = operation["requestBody"]["content"]["application/json"]
        body["examples"] = {name: {"value": value} for name, value in call["examples"].items()}
    [(status, found)] = operation["responses"].items()
    data = found["content"]["application/json"]["schema"]
    own = {str(code): _failure(code, **words) for code, words in call.get("failures", {}).items()}
    answer = _envelope(frame, envelope.SUCCESS, data=data)
    operation["responses"] = {status: _success(answer, **call["success"])} | dict(
        sorted((shared | own).items())
    )


def _envelope(frame: Description, code: str, **data: Description) -> Description:
    # `success` is not fixed: openapi-generator compares it with the text "true".
    properties = frame["properties"] | {"code": {"type": "string", "const": code}} | data
    return frame | {"properties": properties, "required": [*frame["required"], *data]}


def _success(schema: Description, *, example: Description, **words: Any) -> Description:
    return _answer({"schema": schema, "example": example}, **words)


def _failure(
    status: int,
    *,
    message: str | None = None,
    errors: Description | None = None,
    **words: Any,
) -> Description:
    """An error's answer; each of `errors` is an example of a list of bad fields."""
    shown = {
        name: {"value": envelope.failure(status, message, bad) | TIMESTAMP}
        for name, bad in (errors or {"answer": []}).items()
    }
    schema = {"$ref": f"#/components/schemas/{_name(status)}"}
    return _answer({"schema": schema, "examples": shown}, **words)


def _answer(content: Description, *, headers: Any = (), **words: Any) -> Description:
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in (*HEADERS, *headers)}
    return words | {"headers": named, "content": {"application/json": content}}


def _name(status: int) -> str:
    """The name of an error's component. Python's own phrase differs between its versions."""
    return f"Error{status}"


def _merged(one: Description, other: Description) -> Description:
    """`one` with what `other` adds or says differently, at any depth."""
    both = {
        name: _merged(one[name], other[name])
        for name in one.keys() & other.keys()
        if isinstance(one[name], dict) and isinstance(other[name], dict)
    }
    return one | other | both
