"""The envelope of every response under `/web/`.

    {"version", "timestamp", "success", "code", "message"}, then "data" or "errors"

`timestamp` is in milliseconds since the epoch. A success has `data`; a 400 for field errors has
`errors`, a list of `{"field", "code", "message"}`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import orjson
from django.conf import settings
from django.http import HttpResponse
from rest_framework.renderers import BaseRenderer

SUCCESS = "2000"
# HTTP status -> (code, default message)
ERRORS = {
    400: ("4000", "Invalid request"),
    401: ("4010", "Invalid or expired token"),
    403: ("4030", "Forbidden"),
    404: ("4040", "Not found"),
    405: ("4050", "Method not allowed"),
    406: ("4060", "Not acceptable: this call answers application/json"),
    409: ("4090", "The secret was reported as leaked"),
    412: ("4120", "The resource has changed since it was read"),
    413: ("4130", "Request body too large"),
    415: ("4150", "Unsupported media type: send application/json in UTF-8"),
    422: ("4220", "The Idempotency-Key was used with another body"),
    429: ("4290", "Too many requests"),
    500: ("5000", "Internal server error"),
    503: ("5030", "Service unavailable, try again"),
}


class FieldError(TypedDict):
    """An invalid field; `field` is null if the error concerns the whole body.

    `limit` and `prefixes` are the values in the message, so that a front end can translate it.
    """

    field: str | None
    code: str
    message: str
    limit: NotRequired[int]
    prefixes: NotRequired[list[str]]


def success(data: Any) -> dict[str, Any]:
    """The envelope of a 200."""
    return _envelope(SUCCESS, "SUCCESS", success=True) | {"data": data}


def failure(
    status: int, message: str | None = None, errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """The envelope of an error; a status that is not in ERRORS gets the code of 400 or 500."""
    code, default = ERRORS.get(status) or ERRORS[400 if status < 500 else 500]
    body = _envelope(code, message or default, success=False)
    return body | {"errors": list(errors)} if errors else body


def failure_response(status: int, **headers: str) -> HttpResponse:
    """An error response, for errors outside Django REST Framework."""
    return HttpResponse(
        orjson.dumps(failure(status)),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def _envelope(code: str, message: str, *, success: bool) -> dict[str, Any]:
    return {
        "version": settings.API_VERSION,
        "timestamp": time.time_ns() // 1_000_000,
        "success": success,
        "code": code,
        "message": message,
    }


class EnvelopeRenderer(BaseRenderer):
    """JSON in the envelope.

    A view returns bare data. For an error, Django REST Framework sets `response.exception`, and
    `exception_handler` has already created the envelope.
    """

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        response = renderer_context["response"] if renderer_context else None
        failed = response is not None and response.exception
        return orjson.dumps(data if failed else success(data))
