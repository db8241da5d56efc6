"""The service as a real server process."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from tests.production import PRODUCTION

ROOT = Path(__file__).resolve().parents[1]
UPDATE = "/web/v1/workspaces/ws_demo/stripe/connections/update"
LOCALHOST = "127.0.0.1"
# On Linux, a local address that Django refuses unless ALLOWED_HOSTS has it.
HOST = "127.0.0.2" if sys.platform == "linux" else LOCALHOST
# Long enough for a busy machine: a test fails only if nothing happens at all.
PATIENCE_SECONDS = 180
DAY_SECONDS = 86_400


# Sockets that are bound to a port and do not listen.
_reserved: list[socket.socket] = []


def free_port(host: str = LOCALHOST) -> int:
    """A port on which nothing listens.

    On Linux, no other process gets it from the system either, before a server listens on it or
    while the server starts again.
    """
    reserved = socket.socket()
    # Servers set the same option, so they can listen nevertheless.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((host, 0))
    port = int(reserved.getsockname()[1])
    if sys.platform == "linux":
        _reserved.append(reserved)
    else:
        reserved.close()
    return port


def avoid_midnight() -> None:
    """Wait for the next day if it is about to begin, because daily limits end with the day."""
    left = DAY_SECONDS - time.time() % DAY_SECONDS
    if left < PATIENCE_SECONDS:
        time.sleep(left)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Poll `condition` until its value is true, and return the value."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


class Process:
    """A program that listens on a port and writes its output to a file."""

    host = LOCALHOST

    def __init__(self, command: list[str], port: int, log: Path, env: dict[str, str]) -> None:
        self.command, self.port, self.log, self.env = command, port, log, env
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = psutil.Popen(
                self.command, cwd=ROOT, env=self.env, stdout=output, stderr=output
            )
        wait_for(self.is_up, f"The start of {self.command[0]}")

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with closing(socket.socket()) as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the program and return its exit code."""
        self.process.send_signal(number)
        return int(self.process.wait(PATIENCE_SECONDS))


class Service(Process):
    """The service, started like in its container."""

    def __init__(
        self, database_url: str, directory: Path, *arguments: str, workers: int = 1, **more: str
    ) -> None:
        port = free_port(self.host)
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(directory)} | PRODUCTION
        environment |= {"DATABASE_URL": database_url, "NUM_PROXIES": "1", "DEMO_PEOPLE": "true"}
        # The tests send all requests as a few users.
        environment |= {"THROTTLE_USER": "", "THROTTLE_WORKSPACE": ""} | more
        command = [sys.executable, "manage.py", "serve", "--host", self.host, "--port", str(port)]
        command += ["--workers", str(workers), *arguments]
        self.worker_count = workers
        super().__init__(command, port, directory / f"service-{port}.log", environment)

    def start(self) -> None:
        self.start_of_log = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def is_up(self) -> bool:
        """Whether every worker serves. A worker that is still starting ignores a stop signal."""
        started = self.log.read_bytes()[self.start_of_log :].count(b"Started worker-")
        return super().is_up() and started >= self.worker_count

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, check=False, cwd=ROOT, env=self.env, capture_output=True, text=True
        )

    def manage(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def workers(self) -> list[psutil.Process]:
        """The worker processes."""
        found = []
        for child in self.process.children():
            # A process that was killed has no command line any more.
            with suppress(psutil.NoSuchProcess):
                if "resource_tracker" not in str(child.cmdline()):
                    found.append(child)
        return found


class Demo(Service):
    """The service, started like `make run`: with demo data, on SQLite, behind a portal.

    A server that need not introduce itself copies the database of an earlier one: to migrate and
    fill a database takes seconds.
    """

    host = HOST
    first: "Demo | None" = None

    def __init__(self, directory: Path, *, introduces: bool = False, **options: Any) -> None:
        path, self.filled = directory / "db.sqlite3", directory / "filled.sqlite3"
        more = {"DEBUG": "true", "ALLOWED_HOSTS": "", "NUM_PROXIES": "0", "THROTTLE_TOKEN": ""}
        more["DJANGO_SETTINGS_MODULE"] = "tests.patient_settings"
        if Demo.first and not introduces:
            shutil.copy(Demo.first.filled, path)
            super().__init__(f"sqlite:///{path}", directory, **more | options)
            self.passwords = Demo.first.passwords.copy()
        else:
            super().__init__(f"sqlite:///{path}", directory, "--demo", **more | options)
            self.passwords = dict(re.findall(r"(?m)^(demo-\w+) +(\S+)", self.log.read_text()))
            # To check the four passwords takes as long as all else that a start again does.
            self.command.remove("--demo")
            copy_database(path, self.filled)
            Demo.first = self
        self.url = f"http://{self.host}:{self.port}"
        # Nginx adds this header to each request.
        self.portal = {"X-PORTAL-ACCESS-CODE": self.env["PORTAL_ACCESS_CODE"]}

    def token(self, username: str = "demo-manager") -> str:
        body = {"username": username, "password": self.passwords[username]}
        sent = {"Content-Type": "application/json"} | self.portal
        request = Request(f"{self.url}/web/v1/auth/token", json.dumps(body).encode(), sent)
        with urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return str(json.load(answer)["data"]["accessToken"])

    def connect(self) -> Any:
        return closing(socket.create_connection((self.host, self.port), PATIENCE_SECONDS))

    def request(
        self, token: str, body: str = "", *, method: str = "POST", length: str | None = None
    ) -> bytes:
        """Return the bytes of an update request; `length` replaces the Content-Length line."""
        lines = [
            f"{method} {UPDATE} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Authorization: Bearer {token}",
            *(f"{name}: {value}" for name, value in self.portal.items()),
            length or f"Content-Length: {len(body.encode())}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def ask(self, request: bytes) -> tuple[int, Any]:
        with self.connect() as connection:
            # A body that is too long is refused before all of it has arrived.
            with suppress(ConnectionError):
                connection.sendall(request)
            return answer(connection.makefile("rb"))


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database that a server uses."""
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)


def run_program(directory: Path, *command: str, **environment: str) -> str:
    """Run a program that must succeed, and return its output."""
    finished = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


def answer(stream: Any) -> tuple[int, Any]:
    """Read the next response from a stream: its status and its JSON body."""
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline().strip()) != b"":
        if found := re.match(rb"(?i)content-length: *(\d+)", line):
            length = int(found[1])
    return status, json.loads(stream.read(length) or b"null")


def name_change(name: str) -> str:
    return json.dumps({"connectionBizId": "sc_abc123", "connectionName": name})
