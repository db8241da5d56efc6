"""The real server, as `serve` starts it: what HTTP itself asks of it."""

import json
import os
import re
import shutil
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

ROOT = Path(__file__).resolve().parents[2]
UPDATE = "/web/v1/workspaces/ws_demo/stripe/connections/update"
CHUNKED = "Transfer-Encoding: chunked"
# On Linux an address of this machine that Django does not serve unasked.
HOST = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
STARTUP_SECONDS = 60
# One process for the file, also with `--dist loadgroup`.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]


class Server:
    """A process that serves a database of its own, filled with demo data."""

    def __init__(self, database_url: str, log: Path, *arguments: str, **environment: str) -> None:
        with socket.create_server((HOST, 0)) as probe:
            self.port = probe.getsockname()[1]
        self.environment = {"PATH": os.environ["PATH"]} | PRODUCTION
        self.environment |= {
            "DATABASE_URL": database_url,
            "DEBUG": "true",
            "ALLOWED_HOSTS": "",
            "PORTAL_ACCESS_CODE": "",
        } | environment
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "manage.py",
                    "serve",
                    "--demo",
                    "--host",
                    HOST,
                    "--port",
                    str(self.port),
                    *arguments,
                ],
                env=self.environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.wait()
        self.token = self.log_in()

    def wait(self) -> None:
        """Return as soon as the server answers."""
        for _ in range(STARTUP_SECONDS * 20):
            try:
                socket.create_connection((HOST, self.port), 1).close()
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
            else:
                return

    def log_in(self) -> str:
        """A token for the manager whose password was printed."""
        password = re.search(r"demo-manager +(\S+)", self.log.read_text())[1]
        body = json.dumps({"username": "demo-manager", "password": password})
        _, answered = self.ask(self.request(body, "/web/v1/auth/token", token=""))
        return str(answered["data"]["accessToken"])

    def connect(self) -> Any:
        return closing(socket.create_connection((HOST, self.port), STARTUP_SECONDS))

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


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: Any) -> str:
    """An empty database of the kind that the tests run on."""
    given = os.environ.get("DATABASE_URL", "")
    if not given.startswith("postgres"):
        return f"sqlite:///{tmp_path_factory.mktemp('server')}/db.sqlite3"
    name = f"server_{uuid.uuid4().hex}"
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return urlsplit(given)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="module")
def server(database_url: str, tmp_path_factory: Any) -> Iterator[Server]:
    """One server for all of this file, because a start costs seconds; the last test stops it."""
    started = Server(database_url, tmp_path_factory.mktemp("log") / "server.log")
    yield started
    started.process.terminate()
    started.process.wait(STARTUP_SECONDS)


@pytest.mark.skipif(
    not shutil.which("curl") and not os.environ.get("CI"),
    reason="There is no curl here: apt-get install curl",
)
def test_printed_curl_works_when_pasted(server):
    pasted = server.log.read_text().partition("terminal:\n")[2].partition("\n[")[0]

    said = subprocess.check_output(["sh"], input=pasted, text=True, stderr=subprocess.DEVNULL)

    headers, _, body = said.partition("\n\n")
    assert headers.startswith("HTTP/1.1 200 ")
    assert json.loads(body)["data"]["connectionName"] == "Updated Stripe Connection"


def test_chunked_body_is_a_body_like_any_other(server):
    request = server.request(chunked(name_change("Chunked")), headers=CHUNKED)

    assert server.ask(request)[1]["data"]["connectionName"] == "Chunked"


@pytest.mark.parametrize("length", [70_000, 1_000_000])
def test_long_chunked_body_is_413(length, server):
    """Without a Content-Length, which would give it away."""
    request = server.request(chunked(name_change("x" * length), 8_192), headers=CHUNKED)

    status, body = server.ask(request)

    assert (status, body["code"]) == (413, "4130")


def test_long_body_is_413(server):
    status, body = server.ask(server.request(name_change("x" * 70_000)))

    assert (status, body["code"]) == (413, "4130")


def test_pipelined_requests_are_answered_in_order(server):
    with server.connect() as connection:
        connection.sendall(b"".join(server.request(name_change(name)) for name in ("One", "Two")))
        stream = connection.makefile("rb")
        names = [answer(stream)[1]["data"]["connectionName"] for _ in range(2)]

    assert names == ["One", "Two"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_other_methods_are_405(method, server):
    with server.connect() as connection:
        connection.sendall(server.request(method=method))

        assert connection.makefile("rb").readline().split()[1] == b"405"


def test_http_2_is_not_spoken(server):
    """Its bodies may come without a length, and would be taken for empty."""
    with server.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")

        assert connection.recv(1) == b""


def test_stop_answers_what_is_in_flight(server):
    body = name_change("In flight")
    request = server.request(body).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1)
    with server.connect() as connection, server.connect() as stalled:
        # A client that never sends the rest does not keep the server from stopping.
        stalled.sendall(server.request(body)[:-1])
        stream = connection.makefile("rb")
        connection.sendall(request[: -len(body)])
        # The server asks for the body: the request is in its hands.
        assert stream.readline().split()[1] == b"100"
        assert stream.readline() == b"\r\n"
        server.process.terminate()
        connection.sendall(body.encode())
        status, answered = answer(stream)
        ended = server.process.wait(STARTUP_SECONDS)

    assert (status, answered["data"]["connectionName"]) == (200, "In flight")
    assert ended == 0
