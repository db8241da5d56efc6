"""One id for a request: in the response, in every log line and in the audit."""

import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-Id"

_current: ContextVar[str] = ContextVar("request_id", default="-")
_well_formed = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch


def begin(sent: str | None) -> str:
    """Make `sent` the current request's id, or a new UUID where it is missing or malformed."""
    request_id = sent if sent and _well_formed(sent) else str(uuid.uuid4())
    _current.set(request_id)
    return request_id


def current() -> str:
    """The id of the request that this thread serves, "-" outside one."""
    return _current.get()
