"""Converts exceptions to envelopes, without revealing their details."""

import math
from http import HTTPStatus
from typing import Any, Self

from django.http import HttpResponse
from django.views.debug import SafeExceptionReporterFilter
from rest_framework import exceptions

from config.web_chain.envelope import FieldError, failure_response

RETRY_AFTER_SECONDS = 1


class WebError(exceptions.APIException):
    """An error with a status, and its own message unless that of the envelope is enough."""

    errors: tuple[FieldError, ...] = ()

    def __init__(
        self, status: int, message: str | None = None, *, wait: int = RETRY_AFTER_SECONDS
    ) -> None:
        super().__init__(message)
        self.status_code = status
        self.message = message
        # The seconds in `Retry-After`, for a 503.
        self.wait = wait


class InvalidFieldsError(WebError):
    """A 400 that lists every bad field."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(400)
        self.errors = errors

    @classmethod
    def of(cls, field: str | None, code: str, message: str) -> Self:
        """The error of one field."""
        return cls(FieldError(field=field, code=code, message=message))


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """The response to an exception of a view; None if the middleware has to log it.

    Only messages of this project are shown: those of WebError, and those of its parser.
    """
    if isinstance(exc, exceptions.ParseError):
        code, message = str(exc.get_codes()), str(exc.detail)
        exc = InvalidFieldsError.of(None, code, message)
    if not isinstance(exc, exceptions.APIException):
        return None
    shown = exc if isinstance(exc, WebError) else WebError(exc.status_code)
    return failure_response(exc.status_code, shown.message, shown.errors, _headers(exc))


def _headers(exc: exceptions.APIException) -> dict[str, str]:
    if exc.status_code == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if exc.status_code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        # Django REST Framework sets None if the time is unknown.
        wait: float = getattr(exc, "wait", None) or RETRY_AFTER_SECONDS
        return {"Retry-After": str(max(1, math.ceil(wait)))}
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
