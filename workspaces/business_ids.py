"""Business ids: what the outside world calls a row, such as `ws_demo`."""

import re
import secrets
import string
from functools import partial

from django.db import models
from django.db.models import Q

from workspaces.constraints import length_between, starts_with

MAX_LENGTH = 64
ALPHABET = string.ascii_letters + string.digits
# 24 of 62 characters are 142 random bits: never the same twice, so never reused.
RANDOM_LENGTH = 24


def field(prefix: str) -> "models.CharField[str, str]":
    """The column of a model's business ids, which it gives to new rows by itself."""
    return models.CharField(
        "business ID",
        max_length=MAX_LENGTH,
        unique=True,
        editable=False,
        default=partial(generate, prefix),
    )


def generate(prefix: str) -> str:
    """A new id: `prefix`, an underscore and 24 random letters and digits."""
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))}"


def is_well_formed(prefix: str, value: str) -> bool:
    """Whether `value` can be an id of this kind."""
    return pattern(prefix).fullmatch(value) is not None


def pattern(prefix: str) -> re.Pattern[str]:
    """Ids of this kind: the prefix, then letters and digits (ASCII)."""
    return re.compile(rf"{prefix}_[A-Za-z0-9]{{1,{MAX_LENGTH - 3}}}")


def condition(prefix: str) -> Q:
    """What a check constraint can hold of `is_well_formed`, for the column `biz_id`."""
    start = f"{prefix}_"
    return starts_with("biz_id", start) & length_between("biz_id", len(start) + 1, MAX_LENGTH)
