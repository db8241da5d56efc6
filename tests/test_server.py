"""The real server, as `serve` starts it: what HTTP itself asks of it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.production import PRODUCTION

ROOT = Path(__file__).parent.parent
UPDATE = "/web/v1/workspaces/ws_demo/stripe/connections/update"
STARTUP_SECONDS = 60


class Server:
    """A process that serves a database of its own, filled with demo data."""

    def __init__(self, database_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.environment = {"PATH": os.environ["PATH"]} | PRODUCTION
        self.environment |= {
            "DATABASE_URL": database_url,
            "DEBUG": "true",
            "ALLOWED_HOSTS": "",
            "PORTAL_ACCESS_CODE": "",
        }
        self.manage("migrate", "-v0")
        people = json.loads(self.manage("load_demo", "--format", "json"))["users"]
        self.manager = people[0]
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(self.port)],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.wait()
        body = {name: self.manager[name] for name in ("username", "password")}
        _, answer = self.ask(self.request(json.dumps(body), "/web/v1/auth/token", token=""))
        self.token = answer["data"]["accessToken"]

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.check_output(command, env=self.environment, cwd=ROOT, text=True)

    def wait(self) -> None:
        """Return as soon as the server answers."""
        for _ in range(STARTUP_SECONDS * 20):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.05)
            else:
                return

    def connect(self) -> Any:
        return closing(socket.create_connection(("127.0.0.1", self.port), STARTUP_SECONDS))

    def request(
        self,
        body: str = "",
        path: str = UPDATE,
        *,
        method: str = "POST",
        token: str | None = None,
        headers: str | None = None,
    ) -> bytes:
        """The bytes of a request; `headers` stand for those that say how long the body is."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Authorization: Bearer {self.token if token is None else token}",
            headers or f"Content-Length: {len(body.encode())}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def ask(self, request: bytes) -> tuple[int, Any]:
        with self.connect() as connection:
            connection.sendall(request)
            return answer(connection.makefile("rb"))


def answer(stream: Any) -> tuple[int, Any]:
    """The next response of a connection: its status, and its body as JSON."""
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline().strip()) != b"":
        if found := re.match(rb"(?i)content-length: *(\d+)", line):
            length = int(found[1])
    return status, json.loads(stream.read(length) or b"null")


def chunked(text: str, size: int = 10) -> str:
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return "".join(f"{len(part):x}\r\n{part}\r\n" for part in [*parts, ""])


def name_change(name: str) -> str:
    return json.dumps({"connectionBizId": "sc_abc123", "connectionName": name})


@pytest.fixture
def database_url(tmp_path_factory: Any) -> str:
    """An empty database of the kind that the tests run on."""
    given = os.environ.get("DATABASE_URL", "")
    if not given.startswith("postgres"):
        return f"sqlite:///{tmp_path_factory.mktemp('server')}/db.sqlite3"
    name = f"server_{uuid.uuid4().hex}"
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return urlsplit(given)._replace(path=f"/{name}").geturl()


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    started = Server(database_url)
    yield started
    started.process.terminate()
    started.process.wait(STARTUP_SECONDS)


def test_server_speaks_http(server):
    """One server for all of it: a start costs seconds."""
    chunks = server.request(chunked(name_change("Chunked")), headers="Transfer-Encoding: chunked")
    assert server.ask(chunks)[1]["data"]["connectionName"] == "Chunked"

    # Past the limit, and without a Content-Length that would give it away.
    long = chunked(name_change("x" * 70_000), 8_192)
    status, body = server.ask(server.request(long, headers="Transfer-Encoding: chunked"))
    assert (status, body["code"]) == (413, "4130")
    status, body = server.ask(server.request(name_change("x" * 70_000)))
    assert (status, body["code"]) == (413, "4130")

    with server.connect() as connection:
        connection.sendall(server.request(name_change("One")) + server.request(name_change("Two")))
        stream = connection.makefile("rb")
        names = [answer(stream)[1]["data"]["connectionName"] for _ in range(2)]
    assert names == ["One", "Two"]

    assert server.ask(server.request(method="OPTIONS"))[0] == 405
    with server.connect() as connection:
        connection.sendall(server.request(method="HEAD"))
        assert connection.makefile("rb").readline().split()[1] == b"405"


def test_stop_answers_what_is_in_flight(server):
    body = name_change("In flight")
    request = server.request(body).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1)
    with server.connect() as connection:
        stream = connection.makefile("rb")
        connection.sendall(request[: -len(body)])
        # The server asks for the body: the request is in its hands.
        assert stream.readline().split()[1] == b"100"
        assert stream.readline() == b"\r\n"
        server.process.terminate()
        connection.sendall(body.encode())
        status, answered = answer(stream)

    assert (status, answered["data"]["connectionName"]) == (200, "In flight")
    assert server.process.wait(STARTUP_SECONDS) == 0
