"""Put what a view returned into the envelope."""

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from config.web_chain import envelope


class Negotiation(DefaultContentNegotiation):
    """`Accept` without its parameters: none decides anything here, and some break the parser.

    What nearly everybody sends is answered without a comparison, which parses both media types.
    """

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """As the library."""
        if request.content_type == parsers[0].media_type:
            return parsers[0]
        return super().select_parser(request, parsers)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        """As the library."""
        if request.META.get("HTTP_ACCEPT", "*/*") in {"*/*", "application/json"}:
            return renderers[0], renderers[0].media_type
        selected: tuple[Any, str] = super().select_renderer(request, renderers, format_suffix)
        return selected

    def get_accept_list(self, request: Request) -> list[str]:
        return [media_type.partition(";")[0] for media_type in super().get_accept_list(request)]


class EnvelopeRenderer(BaseRenderer):
    """JSON in the envelope.

    A view returns bare data. An error is known by `response.exception`, which Django REST
    Framework sets, and its body was made by `exception_handler`; nothing is guessed from keys.
    """

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        response = renderer_context["response"] if renderer_context else None
        failed = response is not None and response.exception
        return orjson.dumps(data if failed else envelope.success(data))
