"""The OpenAPI document and its page."""

import hashlib
from functools import lru_cache
from threading import Lock
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import condition, require_safe
from drf_spectacular.generators import SchemaGenerator

# drf-spectacular fails if two threads generate at the same time.
_lock = Lock()


def document() -> bytes:
    """The document as JSON, generated once in each process."""
    with _lock:
        return _generated()


@lru_cache(maxsize=1)
def _generated() -> bytes:
    generator: Any = SchemaGenerator(urlconf="config.urls")
    return orjson.dumps(generator.get_schema(request=None, public=True))


def _etag(_request: HttpRequest) -> str:
    return f'"{hashlib.sha256(document()).hexdigest()[:32]}"'


@require_safe
@condition(etag_func=_etag)
def openapi_json(_request: HttpRequest) -> HttpResponse:
    """The OpenAPI document. A browser revalidates its copy each time."""
    return HttpResponse(
        document(), content_type="application/json", headers={"Cache-Control": "private, no-cache"}
    )


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """The page for people, which can also execute calls."""
    return render(request, "openapi/docs.html")
