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


def success_response(data: Any, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A 200 with `data` in the envelope.

    Not Django REST Framework's Response, whose negotiation and rendering take a twentieth of an
    update's time.
    """
    return _response(200, SUCCESS, "SUCCESS", headers, {"data": data})


def failure_response(
    status: int,
    message: str | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """An error; a status that is not in ERRORS gets the code of 400 or 500."""
    code, default = ERRORS.get(status) or ERRORS[400 if status < 500 else 500]
    return _response(
        status, code, message or default, headers, {"errors": errors} if errors else {}
    )


def _response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None, rest: dict[str, Any]
) -> HttpResponse:
    envelope = {
        "version": settings.API_VERSION,
        "timestamp": time.time_ns() // 1_000_000,
        "success": code == SUCCESS,
        "code": code,
        "message": message,
    }
    return HttpResponse(
        orjson.dumps(envelope | rest),
        status=status,
        content_type="application/json",
        headers=headers,
    )
