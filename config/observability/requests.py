"""The ID of each request, its log line, and its metrics.

A log line is a JSON object on standard error, and coloured text on a terminal. All lines pass
through the logging module, so that those of Django and the libraries look the same. structlog
needed 20 µs for a line, this needs 10.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import ResponseHeaders
from django.utils.functional import SimpleLazyObject

from config.database_sessions import is_unavailable
from config.observability import metrics
from config.observability.health import healthz, readyz
from config.web_chain import envelope
from config.web_chain.middleware import PREFIX

logger = logging.getLogger("config.request")
# No line shows them, and every record would compute them
# (https://docs.python.org/3/howto/logging.html#optimization).
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

COLOURS = {"DEBUG": 36, "INFO": 32, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}
# A path can contain anything that a client sends. A business ID is not a secret.
_business_id = re.compile(r"(?:ws|sc)_[A-Za-z0-9]{1,61}").fullmatch

# PostgreSQL's DETAIL of a violated constraint, up to the next exception: it contains the row.
_row = re.compile(r"\nDETAIL: .*?(?=\n\nThe above exception|\n\nDuring handling|\Z)", re.DOTALL)
_is_request_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch

# Handled before the portal, the host and https are checked: a probe only knows an IP address.
PROBES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics.metrics}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
# The fields of a request's line, in this order.
FIELDS = (
    "method", "route", "path", "user", "workspace", "connection", "status", "code", "reason",
    "duration_ms", "queries", "address",
)  # fmt: skip

# The ID of the current request, for the response, every log line and the audit.
request_id: ContextVar[str] = ContextVar("request_id", default="-")
# What else its log line shows.
_notes: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)


class ObservabilityMiddleware:
    """Add the request ID and security headers, write the log line, count, and answer probes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        # For the responses that do not pass through Django's middleware. Nothing is cached unless
        # it says so: the static files and the OpenAPI document do.
        headers = {
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        }
        hsts = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload"
        # In Django's internal form, because `setdefault` would encode each of them every time.
        self.headers = ResponseHeaders(headers)._store
        headers["Strict-Transport-Security"] = hsts
        self.https_headers = ResponseHeaders(headers)._store

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started_at = time.perf_counter()
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        current_id = sent if _is_request_id(sent) else str(uuid.uuid4())
        request_id.set(current_id)
        notes = {"queries": 0}
        _notes.set(notes)
        is_probe = request.path_info in PROBES
        response = probe(request) if is_probe else self.get_response(request)
        response.headers["X-Request-Id"] = current_id
        is_https = request.is_secure() and settings.SECURE_HSTS_SECONDS
        for name, header in (self.https_headers if is_https else self.headers).items():
            response.headers._store.setdefault(name, header)
        # Prevents Django's own line for an error.
        vars(response)["_has_been_logged"] = True
        seconds = time.perf_counter() - started_at
        route = request.path_info if is_probe else route_of(request, response)
        method = request.method if request.method in METHODS else "other"
        metrics.requests(route, method, response.status_code).inc()
        metrics.duration(route).observe(seconds)
        _notes.set(None)
        line = {"method": method, "route": route, "duration_ms": round(seconds * 1000, 2)}
        write_line(request, response.status_code, line | notes, is_probe=is_probe)
        return response


def probe(request: HttpRequest) -> HttpResponse:
    """The response to a probe."""
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return PROBES[request.path_info](request)


def route_of(request: HttpRequest, response: HttpResponse) -> str:
    """The pattern that the path matched. The number of patterns is bounded."""
    if request.resolver_match:
        return request.resolver_match.route
    is_static = response.status_code < 400 and request.path_info.startswith(settings.STATIC_URL)
    return "static" if is_static else "unmatched"


def note_connection(biz_id: str) -> None:
    """Add the connection to the log line of the current request, if `biz_id` is a valid ID."""
    notes = _notes.get()
    if notes is not None and _business_id(biz_id):
        notes["connection"] = biz_id


def write_line(
    request: HttpRequest, status: int, fields: dict[str, Any], *, is_probe: bool
) -> None:
    """Write the log line of a request, without anything that could contain a secret.

    The path is only shown if the request succeeded; otherwise the route must be enough.
    """
    level = logging.DEBUG if is_probe else logging.INFO
    level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else level
    if not logger.isEnabledFor(level):
        return
    match = request.resolver_match
    workspace = match.kwargs.get("workspace_id") if match else None
    is_found = match is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    fields |= {
        "path": request.path if is_found else None,
        "user": _user_id(request),
        "workspace": workspace if workspace and _business_id(workspace) else None,
        "status": status,
        "code": _code(request, status),
        "reason": _reason(request, status),
        "address": request.META.get("REMOTE_ADDR"),
    }
    # `logger.log` would search the stack for the caller's file and line.
    record = logging.LogRecord(logger.name, level, "", 0, "request", (), None)
    record.fields = {name: fields[name] for name in FIELDS if fields.get(name) is not None}
    logger.handle(record)


def _code(request: HttpRequest, status: int) -> str | None:
    """The code in the envelope, which follows from the status."""
    if not request.path_info.startswith(PREFIX):
        return None
    return envelope.ERRORS[status][0] if status in envelope.ERRORS else envelope.SUCCESS


def _reason(request: HttpRequest, status: int) -> str | None:
    """The reason for a 400 to every request to a host, which the response does not contain."""
    with suppress(DisallowedHost):
        if status == HTTPStatus.BAD_REQUEST:
            request.get_host()
        return None
    return "The Host header is not in ALLOWED_HOSTS."


def _user_id(request: HttpRequest) -> Any:
    """The caller's ID, if it is known; evaluating Django's lazy user would cost a query."""
    user = getattr(request, "_cached_user", None) or getattr(request, "user", None)
    return None if isinstance(user, SimpleLazyObject) else getattr(user, "pk", None)


def _count(execute: Callable[..., Any], *arguments: Any) -> Any:
    notes = _notes.get()
    if notes is not None:
        notes["queries"] += 1
    try:
        return execute(*arguments)
    except Error as error:
        if is_unavailable(error):
            # What the driver calls it: SQLITE_BUSY, or psycopg's LockNotAvailable.
            name = getattr(error.__cause__, "sqlite_errorname", type(error.__cause__).__name__)
            metrics.DATABASE_ERRORS.labels(name).inc()
        raise


def _count_statements_of(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


connection_created.connect(_count_statements_of)


class JSONFormatter(logging.Formatter):
    """One JSON object for each record; a stack trace is one of its fields, without variables."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        return orjson.dumps(fields, default=str, option=orjson.OPT_UTC_Z).decode()

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """The fields of a record, in this order."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            "request_id": request_id.get(),
        }
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["exception"] = _row.sub("", self.formatException(record.exc_info))
        return fields


class TerminalFormatter(JSONFormatter):
    """The same fields for people: time, coloured level, event, and the rest as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        trace = fields.pop("exception", None)
        time, level, event = (fields.pop(name) for name in ("time", "level", "event"))
        colour = f"\x1b[{COLOURS.get(record.levelname, 0)}m"
        rest = " ".join(f"\x1b[2m{name}=\x1b[0m{value}" for name, value in fields.items())
        line = f"{time:%H:%M:%S} {colour}{level:<8}\x1b[0m{event} {rest}"
        return f"{line}\n{trace}" if trace else line
