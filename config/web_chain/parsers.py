"""Strict parsing of JSON bodies and queries: nothing that two parsers could read differently."""

import json
import re
from typing import Any, Never
from urllib.parse import parse_qsl

from django.core.exceptions import ValidationError
from rest_framework.exceptions import NotAcceptable, ParseError, UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.utils.mediatypes import _MediaType

JSON = "application/json"
MAX_QUERY_NAMES = 20
# Nested objects and lists. The limit of Python's parser differs between versions.
MAX_DEPTH = 100
BAD_TEXT = "Must not contain a NUL character or a lone surrogate."

# Finds the first NUL or lone surrogate.
find_bad_character = re.compile("[\0\ud800-\udfff]").search


def parse_json(text: str) -> Any:
    """`text` as JSON (RFC 8259), strictly.

    Raises a ValueError for duplicate keys, NaN and Infinity, a byte-order mark, and more than
    MAX_DEPTH levels. Escaped NULs and lone surrogates are JSON; `refuse_bad_text` finds them.
    """
    try:
        value = _decoder.decode(text)
        if text.count("{") + text.count("[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            raise ValueError("It is nested too deeply.")
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    return value


def refuse_bad_text(value: Any) -> None:
    """Raise a ValidationError if any string in `value` contains NUL or a lone surrogate.

    PostgreSQL can store neither (https://www.postgresql.org/docs/current/datatype-json.html).
    """
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if find_bad_character(item):
                raise ValidationError(BAD_TEXT, "invalid_characters")
        elif isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item


class Negotiation(BaseContentNegotiation):
    """The renderer of JSON, or a 406; the parameters of `Accept` are ignored."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        header = request.META.get("HTTP_ACCEPT", "*/*").lower()
        ranges = {part.partition(";")[0].strip() for part in header.split(",")}
        if ranges.isdisjoint({JSON, "application/*", "*/*"}):
            raise NotAcceptable
        return renderers[0], JSON


def json_object(request: Request) -> dict[str, Any]:
    """The body of `request`, which must be a JSON object, declared as JSON in UTF-8.

    Not `request.data`: Django REST Framework accepts an empty body of any media type.
    """
    _require_json(request.content_type)
    try:
        value = parse_json(request.body.decode())
    except UnicodeDecodeError:
        raise ParseError("The body is not UTF-8.", "not_utf8") from None
    except ValueError:
        # Without the parser's message, which quotes the body.
        raise ParseError("The body is not valid JSON.", "not_json") from None
    if not isinstance(value, dict):
        raise ParseError("The body must be a JSON object.", "not_an_object")
    return value


def query(request: Request) -> dict[str, str]:
    """The query of `request`, in UTF-8; ParseError if a name occurs twice."""
    # WSGI decodes the query as Latin-1 (PEP 3333).
    sent = request.META.get("QUERY_STRING", "").encode("latin-1", "replace")
    try:
        pairs = parse_qsl(
            sent.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_NAMES
        )
    except ValueError:
        raise ParseError("The query is not UTF-8, or has too many names.", "invalid") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ParseError("The query has a name twice.", "duplicate")
    return values


def _require_json(media_type: str) -> None:
    """Raise UnsupportedMediaType if `media_type` is not application/json in UTF-8.

    Django REST Framework's own comparison would accept a wildcard.
    """
    if media_type == JSON:
        return
    sent = _MediaType(media_type)
    charset = sent.params.get("charset", "utf-8").lower()
    if sent.full_type != JSON or charset not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(media_type)


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0)


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("It holds a key twice.")
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON.")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates, parse_constant=_refuse_constant
)
