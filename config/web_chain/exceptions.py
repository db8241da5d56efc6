"""Converts exceptions to envelopes, without revealing their details."""

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
    """An error with a status, and its own message unless that of the envelope is enough."""

    errors: list[FieldError] | None = None

    def __init__(
        self, status: int, message: str | None = None, *, retry_after: int = RETRY_AFTER_SECONDS
    ) -> None:
        super().__init__(message)
        self.status_code = status
        self.message = message
        # In seconds, for a 503.
        self.retry_after = retry_after


class InvalidFieldsError(WebError):
    """A 400 that lists every bad field."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(400)
        self.errors = errors


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """The response to an exception of a view; None if the middleware has to log it.

    Only messages of this project are shown: those of WebError, and those of its parser.
    """
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, exceptions.ParseError):
        code = str(exc.get_codes())
        exc = InvalidFieldsError([FieldError(field=None, code=code, message=str(exc.detail))])
    if not isinstance(exc, exceptions.APIException):
        return None
    body = (
        envelope.failure(exc.status_code, exc.message, exc.errors)
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
        # Set by Django REST Framework: seconds, or None if unknown.
        wait: float | None = getattr(exc, "wait", None)
        return {"Retry-After": str(max(1, math.ceil(wait or 1)))}
    return {}


class SilentReporterFilter(SafeExceptionReporterFilter):
    """Error pages and reports without local variables, request bodies, cookies or settings.

    Django's own filter hides values whose names look secret, and none if DEBUG is on. But a key can
    be in any variable, and PORTAL_ACCESS_CODE does not look secret.
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
