"""The outermost middleware: what is true of every answer, whoever gives it."""

import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import ResponseHeaders

from config.observability import logs
from config.observability.health import healthz, readyz
from config.observability.metrics import count_request, metrics
from config.web_chain import request_id

# Answered before the portal, the host and https are asked for: a probe knows an IP address only.
PROBES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


class ObservabilityMiddleware:
    """Give every answer its request id, security headers, log line and metrics; answer probes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        # For those answers that Django's own middlewares and the admin's never see.
        headers = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        }
        hsts = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload"
        # As Django keeps them, because `setdefault` would encode each of them for every answer.
        self.headers = ResponseHeaders(headers)._store  # noqa: SLF001
        headers["Strict-Transport-Security"] = hsts
        self.https_headers = ResponseHeaders(headers)._store  # noqa: SLF001

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started_at = time.perf_counter()
        current_id = request_id.begin(request.META.get("HTTP_X_REQUEST_ID"))
        logs.begin()
        is_probe = request.path_info in PROBES
        response = probe(request) if is_probe else self.get_response(request)
        response.headers[request_id.HEADER] = current_id
        is_https = request.is_secure() and settings.SECURE_HSTS_SECONDS
        for name, header in (self.https_headers if is_https else self.headers).items():
            response.headers._store.setdefault(name, header)  # noqa: SLF001
        # The line of the request says it; Django would write one of its own for every error.
        vars(response)["_has_been_logged"] = True
        seconds = time.perf_counter() - started_at
        route = request.path_info if is_probe else route_of(request, response)
        method = request.method if request.method in METHODS else "other"
        count_request(route, method, response.status_code, seconds)
        logs.finish(request, response, route, method, seconds, is_probe=is_probe)
        return response


def probe(request: HttpRequest) -> HttpResponse:
    """The answer to a probe, which nobody may keep."""
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    response = PROBES[request.path_info](request)
    response.headers["Cache-Control"] = "no-store"
    return response


def route_of(request: HttpRequest, response: HttpResponse) -> str:
    """The pattern that the path matched; there is a bounded number of them."""
    if request.resolver_match:
        return request.resolver_match.route
    is_static = response.status_code < 400 and request.path_info.startswith(settings.STATIC_URL)  # noqa: PLR2004
    return "static" if is_static else "unmatched"
