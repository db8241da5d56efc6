"""Call the WSGI application directly, with any environment."""

import json
from io import BytesIO
from typing import Any, NamedTuple
from unittest.mock import patch
from wsgiref.util import setup_testing_defaults

from django.db.backends.base.base import BaseDatabaseWrapper

from config.wsgi import application
from tests.conftest import ApiClient, update_path
from tests.openapi import described


class Response(NamedTuple):
    status_code: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def call(client: ApiClient, body: bytes = b"", **environ: Any) -> Response:
    """Post `body` to the update call with the client's token; `environ` overrides the defaults."""
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "HTTP_HOST": "testserver",
        "PATH_INFO": update_path(),
        "CONTENT_TYPE": "application/json",
        "wsgi.input": BytesIO(body),
    } | environ
    environ |= {"HTTP_AUTHORIZATION": client.defaults["HTTP_AUTHORIZATION"]}
    setup_testing_defaults(environ)
    # The connection stays open, or the test's transaction would end with the request.
    with patch.object(BaseDatabaseWrapper, "close_if_unusable_or_obsolete"):
        response = application(environ, lambda status, headers: started.extend([status, headers]))
        content = b"".join(response)
    result = Response(int(started[0].split()[0]), dict(started[1]), content)
    described().check(environ["REQUEST_METHOD"], environ["PATH_INFO"], *result)
    return result


def call_chunked(client: ApiClient, body: bytes, **environ: Any) -> Response:
    """Like `call`, but with a chunked body, which has no Content-Length."""
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return call(client, body, **chunked, **environ)
