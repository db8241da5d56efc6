"""Business IDs: the public identifiers of rows, such as `ws_demo`."""

import re
import secrets
import string
from functools import partial

from django.db import models
from django.db.models import Q

from workspaces.constraints import length_between, starts_with

MAX_LENGTH = 64
ALPHABET = string.ascii_letters + string.digits
# 24 of 62 characters are 142 random bits, so an ID never occurs twice.
RANDOM_LENGTH = 24
# Four bytes become the same character. The last eight are left out: 256 is not a multiple of 62.
_characters = (ALPHABET * 5)[:256].encode()
_left_out = bytes(range(4 * len(ALPHABET), 256))


def field(prefix: str) -> "models.CharField[str, str]":
    """The column of a model's business IDs, which generates those of new rows."""
    return models.CharField(
        "business ID",
        max_length=MAX_LENGTH,
        unique=True,
        editable=False,
        default=partial(generate, prefix),
    )


def generate(prefix: str) -> str:
    """A new ID: `prefix`, an underscore and 24 random letters and digits."""
    # At least 24 of 64 bytes remain; that they do not is less likely than an ID that occurs twice.
    letters = secrets.token_bytes(64).translate(_characters, _left_out)[:RANDOM_LENGTH]
    return f"{prefix}_{letters.decode()}"


def is_well_formed(prefix: str, value: str) -> bool:
    """Whether `value` can be an ID with this prefix."""
    return pattern(prefix).fullmatch(value) is not None


def pattern(prefix: str) -> re.Pattern[str]:
    """The IDs with this prefix: the prefix, then letters and digits (ASCII)."""
    return re.compile(rf"{prefix}_[A-Za-z0-9]{{1,{MAX_LENGTH - 3}}}")


def condition(prefix: str) -> Q:
    """The part of `is_well_formed` that a check constraint can express."""
    start = f"{prefix}_"
    return starts_with("biz_id", start) & length_between("biz_id", len(start) + 1, MAX_LENGTH)
