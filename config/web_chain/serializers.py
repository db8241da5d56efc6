"""The base classes of all JSON bodies and queries under `/web/`."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django.core.exceptions import ValidationError
from rest_framework import serializers

from config.web_chain.envelope import FieldError
from config.web_chain.exceptions import InvalidFieldsError
from config.web_chain.parsers import BAD_TEXT, find_bad_character, refuse_bad_text

# The number of items in a page.
DEFAULT_PAGE = 50
MAX_PAGE = 100
# The number of unknown names that get a suggestion, because comparing names is slow.
MAX_SUGGESTIONS = 10
# The shortest part of a known name that leads to a suggestion.
MIN_PART_LENGTH = 3
UNNAMED = "Unknown field (name withheld because it may contain a secret)."

_identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}").fullmatch
# What Stripe's keys and IDs begin with or contain, or a long mix of letters and digits.
_like_a_key = re.compile(
    r"(?i)^(?:we|acct|ca)_|(?<![a-z])[srpem]k_|_(?:live|test)_|whsec_"
    r"|(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{20}"
).search


class StrictCharField(serializers.CharField):
    """A string without NUL and surrogates; a number or boolean is not converted, but refused.

    `validator` is called with the trimmed value, unless that is too long, and raises Django's
    ValidationError with a code.
    """

    def __init__(self, *, validator: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validator = validator

    def run_validation(self, data: Any = serializers.empty) -> str | None:
        if data is None:
            if not self.allow_null:
                raise ValidationError("Must not be null.", code="null")
            return None
        if not isinstance(data, str):
            raise ValidationError("Must be a string.", code="invalid_type")
        if find_bad_character(data):
            raise ValidationError(BAD_TEXT, code="invalid_characters")
        value = data.strip() if self.trim_whitespace else data
        if not value and not self.allow_blank:
            raise ValidationError("Must not be blank.", code="blank")
        if self.max_length is not None and len(value) > self.max_length:
            raise too_long("characters", self.max_length)
        if self.validator:
            self.validator(value)
        return value


class ChoiceField(StrictCharField):
    """One of the names in `choices`, verbatim; the result is its value."""

    def __init__(self, choices: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = choices

    def run_validation(self, data: Any = serializers.empty) -> Any:
        name = super().run_validation(data) or ""
        if name not in self.choices:
            raise ValidationError(f"Must be {' or '.join(self.choices)}.", code="not_a_choice")
        return self.choices[name]


class NumberField(StrictCharField):
    """A number from 1 to `highest`, in a query."""

    def __init__(self, *, highest: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.highest = highest

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data) or ""
        # `int` accepts digits of any script, but not more than 4,300.
        number = int(text) if re.fullmatch("[0-9]{1,20}", text) else 0
        if not 1 <= number <= self.highest:
            message = f"Must be a number from 1 to {self.highest}."
            raise ValidationError(message, code="out_of_range", params={"limit": self.highest})
        return number


def too_long(unit: str, limit: int) -> ValidationError:
    """The error of a value with more than `limit` of the unit."""
    message = f"Must not be longer than {limit:,} {unit}."
    return ValidationError(message, code="max_length", params={"limit": limit})


class StrictSerializer(serializers.Serializer[Any]):
    """A JSON object; the error lists every bad field, including unknown names.

    `validated_data` contains only the fields that were sent. A required field stays required with
    `partial=True`, unlike in Django REST Framework.
    """

    # Names that are accepted and ignored.
    ignored_names: ClassVar[frozenset[str]] = frozenset()

    def run_validation(self, data: Any = serializers.empty) -> dict[str, Any]:
        """Without validators and other rules for the whole object: every rule is a field's."""
        return self.to_internal_value(data)

    def to_internal_value(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The sent values, by source name; raises InvalidFieldsError."""
        errors: list[FieldError] = []
        values: dict[str, Any] = {}
        # The dictionary itself: `fields.items` takes a hundredth of an update's time.
        for name, field in self.fields.fields.items():
            if name not in data:
                if field.required:
                    errors.append(_error(name, "required", "This field is required."))
                continue
            try:
                values[field.source or name] = field.run_validation(data[name])
            except ValidationError as error:
                params = error.params or {}
                errors.append(_error(name, error.code or "invalid", str(error.message), **params))
        errors += self._errors_of_other_names(data)
        if errors:
            raise InvalidFieldsError(*errors)
        return values

    def _errors_of_other_names(self, data: Mapping[str, Any]) -> list[FieldError]:
        errors: list[FieldError] = []
        for name in data:
            if name in self.fields:
                continue
            if name in self.ignored_names:
                try:
                    refuse_bad_text(data[name])
                except ValidationError:
                    errors.append(_error(name, "invalid_characters", BAD_TEXT))
            elif _may_repeat(name):
                likely = self._likely_name(name) if len(errors) < MAX_SUGGESTIONS else None
                hint = f" Did you mean {likely}?" if likely else ""
                errors.append(_error(name, "unknown", f"Unknown field.{hint}"))
            else:
                errors.append(_error(None, "unknown", UNNAMED))
        return errors

    def _likely_name(self, name: str) -> str | None:
        known = {_folded(known): known for known in (*self.fields, *self.ignored_names)}
        sent = _folded(name)
        # At 0.67, "username" would be close to "statusname".
        close = difflib.get_close_matches(sent, known, n=1, cutoff=0.68)
        # "name" is not a close match of "connectionname".
        close += [key for key in known if len(sent) >= MIN_PART_LENGTH and sent in key]
        return known[close[0]] if close else None

    def __repr__(self) -> str:
        """Without the data, which Django REST Framework would show."""
        return f"<{type(self).__name__}>"


def _may_repeat(name: str) -> bool:
    """Whether `name` is a plain identifier, and cannot be a key in the wrong place."""
    return _identifier(name) is not None and _like_a_key(name) is None


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _error(field: str | None, code: str, message: str, **params: Any) -> FieldError:
    return cast("FieldError", {"field": field, "code": code, "message": message} | params)
