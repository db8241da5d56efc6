"""The middleware for every page outside `/web/`: the admin and the API's documentation."""

import logging
import re
import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin
from django.views import defaults

from config.database_sessions import is_unavailable
from config.web_chain.exceptions import RETRY_AFTER_SECONDS

logger = logging.getLogger(__name__)


class AdminMiddleware(MiddlewareMixin):
    """Show an explanation if the database is not available, or the request is malformed."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A 503 for an unavailable database or lock, a 400 for a malformed request."""
        if is_unavailable(error):
            return busy(error)
        return defaults.bad_request(request, error) if is_malformed(request) else None


def is_malformed(request: HttpRequest) -> bool:
    """Whether the request contains what the admin does not check before it uses the database.

    A NUL, which PostgreSQL cannot store, or a selected row that is not a primary key.
    """
    keys = request.POST.getlist("_selected_action")
    has_nul = "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", "")
    return has_nul or not all(re.fullmatch("[0-9]{1,18}", key) for key in keys)


def busy(error: BaseException | None) -> HttpResponse:
    """The page for an unavailable database; only the log gets the error itself."""
    logger.error("The database is unavailable or busy", exc_info=error)
    page = render_to_string("admin/unavailable.html")
    return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def server_error(request: HttpRequest) -> HttpResponse:
    """The response to an unhandled error, also to one that a middleware raises."""
    error = sys.exception()
    return busy(error) if is_unavailable(error) else defaults.server_error(request)
