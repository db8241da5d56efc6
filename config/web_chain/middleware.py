"""What every request under `/web/` passes, in this order."""

import hmac
import logging
import re
from collections.abc import Callable
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.response import SimpleTemplateResponse
from django.urls import resolve

from config.database_sessions import is_unavailable
from config.web_chain.envelope import failure_response
from config.web_chain.exceptions import RETRY_AFTER_SECONDS

logger = logging.getLogger(__name__)

PREFIX = "/web/"
NO_QUERY = QueryDict()

# Clients call the same few paths again and again. A longer one is no client's, and anybody could
# fill the memory with such.
MAX_KNOWN_PATH = 256
_known = lru_cache(maxsize=1_000)(resolve)


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
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is in the envelope
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
