"""Read a JSON body, and refuse what two readers could understand differently."""

import json
from typing import IO, Any, Never

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.utils.mediatypes import _MediaType


def parse_json(text: str) -> Any:
    """`text` as JSON (RFC 8259), strictly.

    Refused with a ValueError: duplicate keys, NaN and Infinity, a byte-order mark, NUL and lone
    surrogates in any string, and more depth than the parser can take.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object_without_duplicates, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    # Without an escape the text itself would hold them, and a body decoded as strict UTF-8
    # has no surrogate; a raw NUL is refused by the parser.
    if "\\u" in text or not text.isascii():
        refuse_bad_text(value)
    return value


def refuse_bad_text(value: Any) -> None:
    """Raise a ValueError where any string in `value` holds NUL or a lone surrogate.

    PostgreSQL can store neither (https://www.postgresql.org/docs/current/datatype-json.html).
    """
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if is_bad_text(item):
                raise ValueError("It holds a NUL character or a lone surrogate.")
        elif isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def is_bad_text(text: str) -> bool:
    """Whether `text` holds NUL or a lone surrogate."""
    return "\0" in text or any("\ud800" <= char <= "\udfff" for char in text)


class StrictJSONParser(BaseParser):
    """A body of `application/json` in UTF-8."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> Any:
        charset = _MediaType(media_type or self.media_type).params.get("charset", "utf-8")
        if charset.lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType(media_type or "")
        try:
            text = stream.read().decode()
        except UnicodeDecodeError:
            raise ParseError("The body is not UTF-8.") from None
        try:
            return parse_json(text)
        except ValueError:
            # The reason is not passed on: a parser quotes what it stumbled over.
            raise ParseError("The body is not valid JSON.") from None


def json_object(request: Request) -> dict[str, Any]:
    """The body of `request`, which must be a JSON object.

    Django REST Framework skips an empty body without a look at its media type; here it is 415
    or 400 like any other.
    """
    data = request.data
    if not request.META.get("CONTENT_LENGTH") or request.META["CONTENT_LENGTH"] == "0":
        negotiator, parsers = request.negotiator, request.parsers
        if not (negotiator and negotiator.select_parser(request, parsers or ())):
            raise UnsupportedMediaType(request.content_type)
        raise ParseError("The body is empty.")
    if not isinstance(data, dict):
        raise ParseError("The body must be a JSON object.")
    return data


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("It holds a key twice.")
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON.")
