"""Check every response under /web/ against the OpenAPI document, strictly.

The document allows new properties in responses, because clients must accept them. Here, a property
that it does not name is an error.
"""

import json
import re
from functools import lru_cache, reduce
from operator import getitem
from typing import Any

from django.test import Client
from jsonschema_rs import Draft202012Validator, Registry

from config.openapi.views import document

WEB = "/web/"
# The statuses of a path that is not a call.
ELSEWHERE = {"400", "403", "404", "500", "503"}
ROOT = "urn:openapi"


class UndocumentedAnswerError(AssertionError):
    """The response does not match the document."""


@lru_cache(maxsize=1)
def described() -> "Described":
    """The current document, compiled once."""
    return Described(json.loads(document()))


class Described:
    """An OpenAPI document, compiled to check responses."""

    def __init__(self, root: Any) -> None:
        self.root = root
        strict = json.loads(json.dumps(root))
        for schema in strict["components"]["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self.registry = Registry([(ROOT, strict)])
        self.calls = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), path, operations)
            # A literal path comes before a path with a parameter in the same place.
            for path, operations in sorted(root["paths"].items(), key=lambda p: p[0].count("{"))
        ]
        self.validators: dict[str, Any] = {}

    def check(self, method: str, path: str, status: int, headers: Any, content: bytes) -> None:
        """Raise an UndocumentedAnswerError if the response does not match the document."""
        pointer, answer = self.answer(method, path, str(status))
        self.check_headers(answer["headers"], headers)
        if method != "HEAD":
            body = json.loads(content)
            problem = next(self.validator(pointer).iter_errors(body), None)
            if problem:
                raise UndocumentedAnswerError(f"{method} {path} {status}: {problem.message}")
            if body["success"] is not (status < 400):
                raise UndocumentedAnswerError(f"{method} {path} {status}: success is wrong")

    def answer(self, method: str, path: str, status: str) -> tuple[str, Any]:
        """Return the JSON Pointer to the response object, and the object."""
        operations, pointer = self.operations(path)
        if operations is None:
            if status not in ELSEWHERE:
                raise UndocumentedAnswerError(f"{method} {path} is not a call, but got {status}")
            operations, pointer = next(
                (found, f"/paths/{escaped(name)}") for _, name, found in self.calls
            )
            operation = next(iter(operations))
        else:
            operation = method.lower() if method.lower() in operations else next(iter(operations))
            if operation != method.lower() and status.startswith("2"):
                raise UndocumentedAnswerError(f"{method} {path} is not documented")
        answers = operations[operation]["responses"]
        if status not in answers:
            raise UndocumentedAnswerError(f"{method} {path}: status {status} is not documented")
        return self.resolved(f"{pointer}/{operation}/responses/{status}", answers[status])

    def operations(self, path: str) -> tuple[Any, str]:
        for pattern, name, operations in self.calls:
            if pattern.fullmatch(path):
                return operations, f"/paths/{escaped(name)}"
        return None, ""

    def resolved(self, pointer: str, value: Any) -> tuple[str, Any]:
        """Follow a reference."""
        if "$ref" not in value:
            return pointer, value
        pointer = value["$ref"].removeprefix("#")
        return pointer, reduce(getitem, pointer.split("/")[1:], self.root)

    def check_headers(self, described: Any, sent: Any) -> None:
        for name, reference in described.items():
            _, header = self.resolved("", reference)
            if name not in sent:
                if header.get("required"):
                    raise UndocumentedAnswerError(f"The header {name} is missing")
                continue
            value = int(sent[name]) if header["schema"].get("type") == "integer" else sent[name]
            if not self.validator(reference["$ref"].removeprefix("#"), "/schema").is_valid(value):
                raise UndocumentedAnswerError(f"The header {name} is {value!r}")

    def validator(self, pointer: str, below: str = "/content/application~1json/schema") -> Any:
        found = self.validators.get(pointer)
        if found is None:
            schema = {"$ref": f"{ROOT}#{pointer}{below}", "unevaluatedProperties": False}
            found = self.validators[pointer] = Draft202012Validator(
                schema, registry=self.registry, validate_formats=True
            )
        return found


def escaped(name: str) -> str:
    """Escape a name for a JSON Pointer in a URL fragment."""
    return name.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")


def check_every_answer() -> None:
    """Make every Django test client check its responses under /web/."""
    request = Client.request

    def checked(self: Client, **environ: Any) -> Any:
        response = request(self, **environ)
        is_preflight = "Access-Control-Allow-Methods" in response and response.status_code == 200
        if environ["PATH_INFO"].startswith(WEB) and not is_preflight:
            described().check(
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                response.status_code,
                response.headers,
                response.content,
            )
        return response

    Client.request = checked  # type: ignore[method-assign]
