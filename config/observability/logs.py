"""Logs: a JSON object a line on standard error, and coloured text on a terminal.

Everything passes through the logging module, so that lines of ours, Django's and the libraries'
look the same. structlog's way of doing that took 20 µs a line where this takes 10.
"""

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from django.core.exceptions import DisallowedHost
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from config.web_chain import envelope, request_id
from config.web_chain.middleware import PREFIX

logger = logging.getLogger("config.request")
# No line names them, and every record would ask for them
# (https://docs.python.org/3/howto/logging.html#optimization).
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

COLOURS = {"DEBUG": 36, "INFO": 32, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}
# Anybody can write anything into a path. What looks like one of our ids is no secret.
_business_id = re.compile(r"(?:ws|sc)_[A-Za-z0-9]{1,61}").fullmatch

# What is to be said of the request that this thread serves.
_notes: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)


def begin() -> None:
    """Start to collect what the line of a request will say."""
    _notes.set({"queries": 0})


def note_connection(biz_id: str) -> None:
    """Name the connection that a request is about, if that is an id at all."""
    notes = _notes.get()
    if notes is not None and _business_id(biz_id):
        notes["connection"] = biz_id


def finish(  # noqa: PLR0913
    request: HttpRequest,
    response: HttpResponse,
    route: str,
    method: str,
    seconds: float,
    *,
    is_probe: bool,
) -> None:
    """Write the line of a request. It holds nothing that a client could have put a secret into.

    The path is told where the view found what it names; of any other, the route says enough.
    """
    notes = _notes.get() or {}
    _notes.set(None)
    status, match = response.status_code, request.resolver_match
    level = logging.DEBUG if is_probe else logging.INFO
    level = logging.WARNING if status >= 500 else level  # noqa: PLR2004
    if not logger.isEnabledFor(level):
        return
    workspace = match.kwargs.get("workspace_id") if match else None
    is_found = match is not None and 200 <= status < 300  # noqa: PLR2004
    line = {
        "method": method,
        "route": route,
        "path": request.path if is_found else None,
        "user": _user_id(request),
        "workspace": workspace if workspace and _business_id(workspace) else None,
        "connection": notes.get("connection"),
        "status": status,
        "code": _code(request, status),
        "reason": _reason(request, status),
        "duration_ms": round(seconds * 1000, 2),
        "queries": notes.get("queries"),
        "address": request.META.get("REMOTE_ADDR"),
    }
    fields = {name: value for name, value in line.items() if value is not None}
    # Not `log`, which looks through the stack for the caller's file and line.
    record = logging.LogRecord(logger.name, level, "", 0, "request", (), None)
    record.fields = fields
    logger.handle(record)


def _code(request: HttpRequest, status: int) -> str | None:
    """The envelope's code, which follows from the status."""
    if not request.path_info.startswith(PREFIX):
        return None
    return envelope.ERRORS[status][0] if status in envelope.ERRORS else envelope.SUCCESS


def _reason(request: HttpRequest, status: int) -> str | None:
    """Why a 400 answers every request to a host, which its body does not say."""
    with suppress(DisallowedHost):
        if status == HTTPStatus.BAD_REQUEST:
            request.get_host()
        return None
    return "The Host header is not in ALLOWED_HOSTS."


def _user_id(request: HttpRequest) -> Any:
    """The caller's id; asking Django's lazy object who that is would cost a query."""
    user = getattr(request, "_cached_user", None) or getattr(request, "user", None)
    return None if isinstance(user, SimpleLazyObject) else getattr(user, "pk", None)


def _count(execute: Callable[..., Any], *arguments: Any) -> Any:
    notes = _notes.get()
    if notes is not None:
        notes["queries"] += 1
    return execute(*arguments)


def _count_statements_of(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


connection_created.connect(_count_statements_of)


class JSONFormatter(logging.Formatter):
    """One JSON object for a record; a stack trace is a field of it, without any frame's values."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        return orjson.dumps(fields, default=str, option=orjson.OPT_UTC_Z).decode()

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What is said of a record, in this order."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            "request_id": request_id.current(),
        }
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return fields


class TerminalFormatter(JSONFormatter):
    """The same for people: time, level in colour, what happened, and the rest as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        trace = fields.pop("exception", None)
        time, level, event = (fields.pop(name) for name in ("time", "level", "event"))
        colour = f"\x1b[{COLOURS.get(record.levelname, 0)}m"
        rest = " ".join(f"\x1b[2m{name}=\x1b[0m{value}" for name, value in fields.items())
        line = f"{time:%H:%M:%S} {colour}{level:<8}\x1b[0m{event} {rest}"
        return f"{line}\n{trace}" if trace else line
