"""Helpers to run the bulk commands and read their results."""

import io
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections, transaction

from stripe_connections.models import StripeConnection


@dataclass
class Result:
    """The exit code, the output, and the parsed JSON if the format is JSON."""

    code: int
    out: str
    err: str
    problem: str = ""
    json: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of changed, unchanged, skipped and failed rows."""
        return tuple(self.json[name] for name in ("changed", "unchanged", "skipped", "failed"))

    @property
    def everything(self) -> str:
        return self.out + self.err + self.problem


def run(*arguments: str, stdin: str | bytes = "") -> Result:
    """Run `manage.py` with these arguments, and with `--format json` by default."""
    arguments = (*arguments, *(() if "--format" in arguments else ("--format", "json")))
    out, err = io.StringIO(), io.StringIO()
    data = stdin.encode() if isinstance(stdin, str) else stdin
    code, problem = 0, ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        try:
            call_command(*arguments, stdout=out, stderr=err)
        except CommandError as error:
            code, problem = error.returncode, str(error)
    text = out.getvalue()
    parsed = json.loads(text) if text.startswith('{"rows"') else {}
    return Result(code, text, err.getvalue(), problem, parsed)


class Holder:
    """Locks a row in another thread and database session."""

    def __init__(self, connection):
        self._pk = connection.pk
        self._locked, self._may_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def _hold(self):
        with transaction.atomic():
            list(StripeConnection.objects.select_for_update().filter(pk=self._pk))
            self._locked.set()
            self._may_go.wait(120)
        connections.close_all()

    def release(self):
        self._may_go.set()
        self._thread.join()

    def __enter__(self):
        self._thread.start()
        assert self._locked.wait(120)

    def __exit__(self, *error):
        self.release()


@pytest.fixture
def new_key(settings):
    """A new first key, like at the start of a rotation."""
    key = Fernet.generate_key().decode()
    settings.FERNET_KEYS = [key, *settings.FERNET_KEYS]
    return key
