"""What a request passes between the server and its view: the handler, and the chain of `/web/`."""

import hmac
import logging
import re
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest, get_script_name
from django.core.signals import request_started
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.response import SimpleTemplateResponse
from django.urls import resolve, set_script_prefix
from django.utils.http import parse_header_parameters

from config.database_sessions import is_unavailable
from config.web_chain.envelope import failure_response
from config.web_chain.exceptions import RETRY_AFTER_SECONDS

logger = logging.getLogger(__name__)

PREFIX = "/web/"
MAX_CONTENT_TYPE_LENGTH = 256
NO_QUERY = QueryDict()

# Clients call the same few paths again and again. A longer one is no client's, and anybody could
# fill the memory with such.
MAX_KNOWN_PATH = 256
_known = lru_cache(maxsize=1_000)(resolve)


class WebRequest(WSGIRequest):
    """Django's request, which no Content-Type can break.

    Django reads the header while it makes the request, where no middleware can answer for an
    error: of a charset that it cannot parse, and, with any charset, of a query of too many names.
    Here a malformed one is no Content-Type, and a charset decides nothing: all of ours is UTF-8.
    So is one that is long, because Python's parser takes minutes for a header that fits in one.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        header = meta.get("CONTENT_TYPE", "")
        try:
            self.content_type, self.content_params = parse_header_parameters(
                header if len(header) <= MAX_CONTENT_TYPE_LENGTH else ""
            )
        # A TypeError is what some numbered parameters are to the parser (RFC 2231, section 3).
        except (TypeError, ValueError):
            self.content_type, self.content_params = "", {}
        # Django REST Framework would parse it again.
        if not self.content_type:
            meta["CONTENT_TYPE"] = ""


class WebHandler(WSGIHandler):
    """Django's handler, with bodies in one piece, from the server to Django and back.

    A request's body that came without Content-Length gets one, because Django takes a missing
    length for 0. Where the server marks the end of the input (`wsgi.input_terminated`), reading is
    safe; one byte over the limit is enough for a 413.

    An answer that is no stream is a list, which Granian sends at once; anything else it asks for
    piece by piece, from another thread.
    """

    request_class = WebRequest

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        """The answer, in pieces."""
        if environ.get("HTTP_TRANSFER_ENCODING") and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(settings.MAX_BODY_BYTES + 1)
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        set_script_prefix(get_script_name(environ))
        request_started.send(sender=type(self), environ=environ)
        response: Any = self.get_response(self.request_class(environ))
        cookies = [("Set-Cookie", c.output(header="")) for c in response.cookies.values()]
        # Not `items`, which looks every header up again.
        headers = [*response.headers._store.values(), *cookies]
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        if response.streaming:
            # Whichever thread makes the pieces, its connection is not for a next request.
            response._resource_closers.append(connections.close_all)
        else:
            response.close()
        return response if response.streaming else [response.content]


class WebChainMiddleware:
    """Serve `/web/` from here, so that sessions, CSRF and the like are never in its way.

    Every answer is in the envelope, also to a bad host, an unknown path and a crash, which Django
    REST Framework never sees.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        response = self.answer(request)
        response["Content-Length"] = str(len(response.content))
        response["Cache-Control"] = "no-store"
        return response

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Portal, host, size of the body, route, view; then the envelope for what went wrong."""
        try:
            if not portal_admits(request):
                return failure_response(403)
            request.get_host()
            if body_length(request) > settings.MAX_BODY_BYTES:
                return failure_response(413)
            # A call that takes a query reads it by `parsers.query`. To anybody else it means
            # nothing, and one of too many names would be an error wherever it is looked at.
            request.GET = NO_QUERY
            find = _known if len(request.path_info) <= MAX_KNOWN_PATH else resolve
            request.resolver_match = match = find(request.path_info, settings.ROOT_URLCONF)
            response: HttpResponse = match.func(request, *match.args, **match.kwargs)
            return response.render() if isinstance(response, SimpleTemplateResponse) else response
        except Exception as error:  # whatever it is, the answer is in the envelope
            return self.answer_to(error)

    def answer_to(self, error: Exception) -> HttpResponse:
        """The envelope for what Django REST Framework did not answer; a crash is logged."""
        if isinstance(error, Http404):
            return failure_response(404)
        if isinstance(error, SuspiciousOperation):  # a bad host or length, among others
            return failure_response(400)
        if is_unavailable(error):
            logger.error("The database is away or busy", exc_info=error)
            return failure_response(503, **{"Retry-After": str(RETRY_AFTER_SECONDS)})
        logger.error("Unexpected error", exc_info=error)
        return failure_response(500)


def body_length(request: HttpRequest) -> int:
    """The declared length of the body; SuspiciousOperation where it is no length.

    Django takes a malformed one for 0 and reads to the end, past every limit, at a negative one.
    """
    length = request.META.get("CONTENT_LENGTH") or "0"
    # Python converts no more than 4,300 digits.
    if not re.fullmatch(r"[0-9]{1,4000}", length):
        raise SuspiciousOperation("Malformed Content-Length")
    return int(length)


def portal_admits(request: HttpRequest) -> bool:
    """Whether the request came through the portal, which adds one of the codes to it.

    Every code is compared, each in constant time; no code configured admits everybody.
    """
    if not settings.PORTAL_ACCESS_CODE:
        return True
    # WSGI hands over a header's bytes as Latin-1 (PEP 3333).
    sent = request.META.get("HTTP_X_PORTAL_ACCESS_CODE", "").encode("latin-1", "replace")
    matches = [hmac.compare_digest(sent, code) for code in _codes(settings.PORTAL_ACCESS_CODE)]
    return any(matches)


@lru_cache(maxsize=8)
def _codes(setting: str) -> list[bytes]:
    # An empty entry is no code: a stray comma must not admit a request without the header.
    return [code.strip().encode() for code in setting.split(",") if code.strip()]
