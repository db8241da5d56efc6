"""What every page outside `/web/` passes: the pages of staff."""

import logging
import sys
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers
from django.views import defaults

from config.database_sessions import is_unavailable
from config.web_chain.exceptions import RETRY_AFTER_SECONDS

logger = logging.getLogger(__name__)

# Without the admin's frame, which asks the database who is looking.
BUSY = """<!DOCTYPE html>
<title>Try again</title>
<h1>Try again in a moment</h1>
<p>The database is away, or somebody else is changing the same row. Nothing was saved.
Go back, and save again.</p>
"""


class StaffPagesMiddleware:
    """Keep pages out of the browser's cache, and say it kindly when the database is away."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Say `no-store` with every page; the admin itself leaves some out, and every refusal."""
        response = self.get_response(request)
        # The description of the API says itself how long it is good.
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A 503 for a database that is away or a lock that lasts; None leaves a crash to Django."""
        if not is_unavailable(error):
            return None
        return busy(error)


def busy(error: BaseException | None) -> HttpResponse:
    """The page for a database that is away; what it said is for the log alone."""
    logger.error("The database is away or busy", exc_info=error)
    return HttpResponse(BUSY, status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer for a crash, also in a middleware: the one of sessions asks the database again."""
    error = sys.exception()
    return busy(error) if is_unavailable(error) else defaults.server_error(request)
