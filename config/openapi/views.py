"""Where the description of the API is read, by machines and by people."""

import hashlib
from functools import lru_cache
from threading import Lock
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import condition, require_safe
from drf_spectacular.generators import SchemaGenerator

# drf-spectacular fails where two threads begin at once.
_making = Lock()


def document() -> bytes:
    """The description as JSON, made once in each process."""
    with _making:
        return _made()


@lru_cache(maxsize=1)
def _made() -> bytes:
    generator: Any = SchemaGenerator(urlconf="config.urls")
    return orjson.dumps(generator.get_schema(request=None, public=True))


def _etag(_request: HttpRequest) -> str:
    return f'"{hashlib.sha256(document()).hexdigest()[:32]}"'


@require_safe
@condition(etag_func=_etag)
def openapi_json(_request: HttpRequest) -> HttpResponse:
    """The OpenAPI document. A cache asks every time whether it is still the one."""
    return HttpResponse(
        document(), content_type="application/json", headers={"Cache-Control": "private, no-cache"}
    )


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """The readable page, on which calls can be tried."""
    return render(request, "openapi/docs.html")
