"""The OpenAPI document, which `openapi.yaml` contains."""

from functools import lru_cache
from pathlib import Path

import orjson
import yaml
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import conditional_page, require_safe

# The loader in C takes a tenth of the time; a PyYAML that was built without it lacks this name.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=1)
def document() -> bytes:
    """The document as JSON."""
    # Both loaders are safe.
    content = yaml.load(Path(__file__).with_name("openapi.yaml").read_bytes(), LOADER)  # noqa: S506
    del content["x-parts"]
    return orjson.dumps(content)


@require_safe
@conditional_page
def openapi_json(_request: HttpRequest) -> HttpResponse:
    """The OpenAPI document. A browser revalidates its copy each time."""
    return HttpResponse(
        document(), content_type="application/json", headers={"Cache-Control": "private, no-cache"}
    )
