"""The update call in other frameworks, like in their tutorials. Never deploy them.

Both verify the token, load the caller with one query, validate the body, lock the row, update the
given columns, encrypt secrets and insert the audit record. They have no throttle, metrics or log.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

Command = tuple[str, ...]
FASTIFY = Path(__file__).with_name("fastify")
MODULES = ("asyncpg", "fastapi", "sqlalchemy", "uvloop")


def commands(workers: int) -> dict[str, Command]:
    """Return the command of each peer that can run here; print why the others cannot."""
    found: dict[str, Command] = {}
    for name, problems, command in (
        ("fastapi", _fastapi_problems(), _fastapi(workers)),
        ("fastify", _fastify_problems(workers), ("node", str(FASTIFY / "server.js"))),
    ):
        if problem := next(problems, None):
            leave_out(name, problem)
        else:
            found[name] = command
    return found


def leave_out(name: str, reason: str) -> None:
    """Report that a peer is not measured."""
    print(f"{name} is left out: {reason}", file=sys.stderr)


def _fastapi(workers: int) -> Command:
    options = ("--interface", "asgi", "--http", "1", "--no-ws", "--workers", str(workers))
    return (sys.executable, "-m", "granian", *options, "benchmarks.peers.fastapi_sqlalchemy:app")


def _fastapi_problems() -> Iterator[str]:
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        install = "pip install --no-deps -r benchmarks/peers/requirements.txt"
        yield f"no module {' and '.join(missing)}; `make bench` installs them, or {install}"


def _fastify_problems(workers: int) -> Iterator[str]:
    if workers > 1:
        yield "it has one process"
    if not (shutil.which("node") and shutil.which("npm")):
        yield "node or npm is missing"
    lock, installed = FASTIFY / "package-lock.json", FASTIFY / "node_modules/.package-lock.json"
    if installed.exists() and installed.stat().st_mtime > lock.stat().st_mtime:
        return
    print("Installing Fastify ...", file=sys.stderr)
    command = [shutil.which("npm") or "npm", "ci"]
    npm = subprocess.run(command, cwd=FASTIFY, capture_output=True, text=True, check=False)
    if npm.returncode:
        yield f"npm ci failed: {(npm.stderr.strip().splitlines() or ['no message'])[0]}"
