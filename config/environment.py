"""Reads settings from the environment, mounted files, and `.env`.

An invalid value raises ImproperlyConfigured, with the name of the variable and without its value.
"""

import os
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

ON, OFF = ("TRUE", "YES", "ON", "1"), ("FALSE", "NO", "OFF", "0")
DATABASE_ENGINES = ("django.db.backends.postgresql", "django.db.backends.sqlite3")
# Kubernetes sets the addresses of its services, such as STRIPE_CONNECTIONS_SERVICE_HOST.
_is_setting = re.compile(
    "(?!.*_(SERVICE|PORT)(_|$))(ALLOWED|CORS|FERNET|JWT|METRICS|PORTAL|STRIPE|THROTTLE)_.*"
).fullmatch


class _Variables(FileAwareMapping):
    """`os.environ`; if `NAME_FILE` is set, the content of that file is the value of `NAME`."""

    def __init__(self) -> None:
        super().__init__()
        # Every name that was looked up, with or without a value.
        self.known: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.known.add(key)
        try:
            value: str = super().__getitem__(key)
        except (OSError, UnicodeError) as error:
            raise ImproperlyConfigured(f"{key}_FILE cannot be read: {_reason(error)}.") from None
        # A mounted secret usually ends with a line break that is not part of it, and some editors
        # add a byte-order mark. A dollar sign is escaped because django-environ reads a value that
        # begins with one as the name of another variable; `escape_proxy` below removes the escape.
        return value.removeprefix("\ufeff").rstrip("\r\n").replace("$", r"\$")


class Environment(environ.FileAwareEnv):
    """django-environ, with verbatim values, trimmed lists and strict numbers and switches."""

    ENVIRON = _Variables()

    def __init__(self, **scheme: Any) -> None:
        super().__init__(**scheme)
        self.escape_proxy = True

    @classmethod
    def with_file(cls, env_file: Path) -> Self:
        """The environment, and for variables that it lacks `env_file`, which may be missing."""
        before = set(os.environ)
        try:
            # Some editors add a byte-order mark.
            with env_file.open(encoding="utf-8-sig") as file:
                cls.read_env(file)
        except FileNotFoundError:
            pass
        except (OSError, UnicodeError) as error:
            raise ImproperlyConfigured(f"{env_file} cannot be read: {_reason(error)}.") from None
        # NAME_FILE overrides NAME, but not if it is in the file and NAME in the environment.
        for name in before:
            if f"{name}_FILE" not in before:
                os.environ.pop(f"{name}_FILE", None)
        return cls()

    def items(self, name: str, default: str = "") -> list[str]:
        """The comma-separated entries of `name`, trimmed."""
        return [item.strip() for item in self.str(name, default).split(",")]

    def count(self, name: str, default: int) -> int:
        """A whole number, 0 or more."""
        value: str = self.str(name, "") or str(default)
        if not (value.isascii() and value.isdigit()):
            raise ImproperlyConfigured(f"{name} must be a whole number, 0 or more.")
        return int(value)

    def switch(self, name: str, *, default: bool) -> bool:
        """On or off; django-environ would read a typing error as off."""
        return self.choice(name, str(default), ON + OFF) in ON

    def unknown_names(self) -> list[str]:
        """The variables that are set, look like settings of this service, and were never read."""
        known = {name for key in self.ENVIRON.known for name in (key, f"{key}_FILE")}
        return sorted(n for n in {*os.environ} - known if _is_setting(n))

    def choice(self, name: str, default: str, choices: Collection[str]) -> str:
        """One of `choices`, in any case."""
        value: str = (self.str(name, "") or default).upper()
        if value not in choices:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}.")
        return value

    def database(self, name: str, default: str) -> dict[str, Any]:
        """Django's settings for the address of a database."""
        try:
            # django-environ warns of a part that it ignores.
            with warnings.catch_warnings(action="error"):
                found: dict[str, Any] = self.db_url_config(self.str(name, "") or default)
        except (ValueError, UserWarning):
            found = {}
        if found.get("ENGINE") not in DATABASE_ENGINES or not found.get("NAME"):
            raise ImproperlyConfigured(
                f"{name} must be like postgres://USER:PASSWORD@HOST:5432/NAME, with odd "
                "characters percent-encoded, or like sqlite:////PATH/TO/FILE."
            )
        return found


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"
