"""Calls by pages of other origins, with django-cors-headers."""

from typing import Any

from corsheaders import middleware
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config.web_chain.middleware import portal_admits


class CorsMiddleware(middleware.CorsMiddleware):
    """Left out of the chain, and so without any cost, if CORS_ALLOWED_ORIGINS is empty.

    A preflight from an allowed origin is answered after the portal and before the token, which
    browsers do not send with it. Any other OPTIONS request is a call like the others: 405.
    """

    def __init__(self, get_response: Any) -> None:
        if not settings.CORS_ALLOWED_ORIGINS:
            raise MiddlewareNotUsed
        super().__init__(get_response)

    def check_preflight(self, request: HttpRequest) -> HttpResponseBase | None:
        is_allowed = request.META.get("HTTP_ORIGIN") in settings.CORS_ALLOWED_ORIGINS
        return super().check_preflight(request) if is_allowed and portal_admits(request) else None
