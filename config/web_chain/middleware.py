"""The WSGI handler, and the middleware that handles `/web/`."""

import hmac
import logging
import re
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection, connections
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import resolve
from django.utils.http import parse_header_parameters

from config.database_sessions import is_unavailable
from config.web_chain.envelope import failure_response
from config.web_chain.exceptions import RETRY_AFTER_SECONDS

logger = logging.getLogger(__name__)

PREFIX = "/web/"
MAX_CONTENT_TYPE_LENGTH = 256
NO_QUERY = QueryDict()

# Clients use few different paths. Longer ones are not cached, because an attacker could fill the
# memory with them.
MAX_KNOWN_PATH = 256
_known = lru_cache(maxsize=1_000)(resolve)


class WebRequest(WSGIRequest):
    """Django's request, but a malformed Content-Type raises nothing.

    Django parses the header when it creates the request, where no middleware can handle an error:
    an invalid charset, or, with any charset, too many names in the query. Here a malformed header
    counts as missing, and the charset is ignored, because everything is UTF-8. A long header counts
    as missing too, because Python's parser needs minutes for some of them.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        header = meta.get("CONTENT_TYPE", "")
        try:
            self.content_type, self.content_params = parse_header_parameters(
                header if len(header) <= MAX_CONTENT_TYPE_LENGTH else ""
            )
        # The parser raises TypeError for some numbered parameters (RFC 2231, section 3).
        except (TypeError, ValueError):
            self.content_type, self.content_params = "", {}
        # Django REST Framework would parse it again.
        if not self.content_type:
            meta["CONTENT_TYPE"] = ""


class WebHandler(WSGIHandler):
    """Django's handler, with bodies in one piece, from the server to Django and back.

    A chunked request body gets a Content-Length, because Django would read it as empty. It can be
    read to its end if the server marks that (`wsgi.input_terminated`); one byte more than the limit
    is enough for a 413.

    A response body that is not a stream is returned as a list, which Granian sends at once. It
    reads any other iterable piece by piece, in another thread.

    The service is always at the root of its host, so no script prefix is set.
    """

    request_class = WebRequest

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        if environ.get("HTTP_TRANSFER_ENCODING") and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(settings.MAX_BODY_BYTES + 1)
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        # Instead of the signal `request_started`, which looks for its receivers every time.
        connection.close_if_unusable_or_obsolete()
        response: Any = self.get_response(self.request_class(environ))
        cookies = [("Set-Cookie", c.output(header="")) for c in response.cookies.values()]
        # `items` would look up every header again.
        headers = [*response.headers._store.values(), *cookies]
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        if response.streaming:
            # The thread that reads the stream serves no other request on its connections.
            response._resource_closers.append(connections.close_all)
        else:
            response.close()
        return response if response.streaming else [response.content]


class WebChainMiddleware:
    """Handle `/web/`, without the middleware that follows: sessions, CSRF and others.

    Every response has the envelope, including those to a bad host, an unknown path and an unhandled
    exception, which Django REST Framework does not handle.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_web = request.path_info.startswith(PREFIX)
        return self.answer(request) if is_web else self.get_response(request)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The response of the view, after portal, host and length; an envelope for any error."""
        try:
            if not portal_admits(request):
                return failure_response(403)
            request.get_host()
            if body_length(request) > settings.MAX_BODY_BYTES:
                return failure_response(413)
            # Calls with a query use `parsers.query`. The others ignore it, but a query with too
            # many names would raise an exception wherever Django reads it.
            request.GET = NO_QUERY
            find = _known if len(request.path_info) <= MAX_KNOWN_PATH else resolve
            request.resolver_match = match = find(request.path_info, settings.ROOT_URLCONF)
            return cast("HttpResponse", match.func(request, *match.args, **match.kwargs))
        except Exception as error:  # every response has the envelope
            return self.answer_to(error)

    def answer_to(self, error: Exception) -> HttpResponse:
        """The envelope for an exception that Django REST Framework did not handle."""
        if isinstance(error, Http404):
            return failure_response(404)
        if isinstance(error, SuspiciousOperation):  # a bad host or length, among others
            return failure_response(400)
        if is_unavailable(error):
            logger.error("The database is unavailable or busy", exc_info=error)
            return failure_response(503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        logger.error("Unexpected error", exc_info=error)
        return failure_response(500)


def body_length(request: HttpRequest) -> int:
    """The declared length of the body; SuspiciousOperation if it is not a number.

    Django would take a malformed one as 0, and with a negative one read without a limit.
    """
    length = request.META.get("CONTENT_LENGTH") or "0"
    # Python does not convert more than 4,300 digits.
    if not re.fullmatch(r"[0-9]{1,4000}", length):
        raise SuspiciousOperation("Malformed Content-Length")
    return int(length)


def portal_admits(request: HttpRequest) -> bool:
    """Whether the request has one of the portal's codes, or none is configured.

    Every code is compared, each in constant time.
    """
    if not settings.PORTAL_ACCESS_CODE:
        return True
    # WSGI decodes headers as Latin-1 (PEP 3333).
    sent = request.META.get("HTTP_X_PORTAL_ACCESS_CODE", "").encode("latin-1", "replace")
    matches = [hmac.compare_digest(sent, code) for code in _codes(settings.PORTAL_ACCESS_CODE)]
    return any(matches)


@lru_cache(maxsize=8)
def _codes(setting: str) -> list[bytes]:
    # Empty entries are dropped: a stray comma must not admit requests without the header.
    return [code.strip().encode() for code in setting.split(",") if code.strip()]
