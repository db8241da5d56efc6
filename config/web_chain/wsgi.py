"""What stands between the server and Django."""

from io import BytesIO
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest, get_script_name
from django.core.signals import request_started
from django.db import connections
from django.urls import set_script_prefix
from django.utils.http import parse_header_parameters

MAX_CONTENT_TYPE_LENGTH = 256


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
        headers = [*response.headers._store.values(), *cookies]  # noqa: SLF001
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        if response.streaming:
            # Whichever thread makes the pieces, its connection is not for a next request.
            response._resource_closers.append(connections.close_all)  # noqa: SLF001
        else:
            response.close()
        return response if response.streaming else [response.content]
