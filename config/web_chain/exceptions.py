"""Turn what was raised into the envelope, and keep what it says to ourselves."""

import math
from http import HTTPStatus
from typing import Any

from django.http import Http404
from django.views.debug import SafeExceptionReporterFilter
from rest_framework import exceptions
from rest_framework.response import Response

from config.web_chain import envelope
from config.web_chain.envelope import FieldError

RETRY_AFTER_SECONDS = 1


class WebError(exceptions.APIException):
    """An error whose own message is shown, with a list of bad fields where there is one."""

    errors: list[FieldError] | None = None


class InvalidFieldsError(WebError):
    """A 400 that lists every bad field."""

    status_code = 400
    default_detail = "Invalid request"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__()
        self.errors = errors


class LoginFailedError(WebError):
    """A 401 that is no matter of a token."""

    status_code = 401
    default_detail = "Invalid username or password"


class NotFoundError(WebError):
    """A 404 that says what was not found."""

    status_code = 404


class PreconditionFailedError(exceptions.APIException):
    """A 412: `If-Match` does not match."""

    status_code = 412


class KeyReusedError(exceptions.APIException):
    """A 422: the `Idempotency-Key` came with another body before."""

    status_code = 422


class UnavailableError(exceptions.APIException):
    """A 503: something that this service needs is away for the moment."""

    status_code = 503


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer for an exception that a view raised; None leaves it to the middleware, which logs it.

    Only our own messages are passed on, and the parser's, which is ours too.
    """
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, exceptions.ParseError):
        code = str(exc.get_codes())
        exc = InvalidFieldsError([FieldError(field=None, code=code, message=str(exc.detail))])
    if not isinstance(exc, exceptions.APIException):
        return None
    body = (
        envelope.failure(exc.status_code, str(exc.detail), exc.errors)
        if isinstance(exc, WebError)
        else envelope.failure(exc.status_code)
    )
    return Response(body, status=exc.status_code, headers=_headers(exc))


def _headers(exc: exceptions.APIException) -> dict[str, str]:
    if exc.status_code == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if exc.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(getattr(exc, "retry_after", RETRY_AFTER_SECONDS))}
    if isinstance(exc, exceptions.Throttled):
        # Set by Django REST Framework: seconds, or None where it cannot tell.
        wait: float | None = getattr(exc, "wait", None)
        return {"Retry-After": str(max(1, math.ceil(wait or 1)))}
    return {}


class SilentReporterFilter(SafeExceptionReporterFilter):
    """Error pages and reports without local variables, request bodies, cookies or settings.

    Django's own filter hides names that look secret, and nothing at all under DEBUG; a pasted key
    can sit in any variable of any frame, and PORTAL_ACCESS_CODE looks harmless.
    """

    def get_safe_settings(self) -> dict[str, Any]:
        return {}

    def get_post_parameters(self, request: Any) -> dict[str, Any]:
        return {}

    def get_traceback_frame_variables(self, request: Any, tb_frame: Any) -> Any:
        return []

    def get_safe_request_meta(self, request: Any) -> dict[str, Any]:
        return {}

    def get_safe_cookies(self, request: Any) -> dict[str, Any]:
        return {}
