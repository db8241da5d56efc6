"""Values that a deployment gives: from the environment, a mounted file, or `.env`."""

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping


class _Variables(FileAwareMapping):  # type: ignore[misc]  # django-environ is untyped
    """`os.environ`, where `NAME_FILE` names a file that holds the value of `NAME`."""

    def __getitem__(self, key: str) -> str:
        try:
            value: str = super().__getitem__(key)
        except OSError as error:
            raise ImproperlyConfigured(f"{key}_FILE cannot be read: {error.strerror}.") from None
        # A mounted secret usually ends in a line break that is no part of it. A dollar sign is
        # escaped because django-environ reads a value that begins with one as the name of another
        # variable; `escape_proxy` below takes the escape off again.
        return value.rstrip("\r\n").replace("$", r"\$")


class Environment(environ.FileAwareEnv):  # type: ignore[misc]  # django-environ is untyped
    """django-environ, with values taken to the letter and trimmed lists."""

    ENVIRON = _Variables()

    def __init__(self, **scheme: Any) -> None:
        super().__init__(**scheme)
        self.escape_proxy = True

    def items(self, name: str, default: str = "") -> list[str]:
        """The comma-separated entries of `name`, without the white space around them."""
        return [item.strip() for item in self.str(name, default).split(",")]


def load(env_file: Path) -> Environment:
    """The environment, with what only `env_file` sets filled in; the file may be missing."""
    if env_file.is_file():
        Environment.read_env(env_file)
    return Environment()
