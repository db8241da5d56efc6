"""The real server, started with `serve`: HTTP, its output, and how it stops."""

import json
import os
import shutil
import subprocess

import pytest

from tests.service import PATIENCE_SECONDS, answer, name_change

CHUNKED = "Transfer-Encoding: chunked"


def chunked(text: str, size: int = 10) -> str:
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return "".join(f"{len(part):x}\r\n{part}\r\n" for part in [*parts, ""])


@pytest.fixture(scope="module")
def token(demo_server):
    return demo_server.token()


@pytest.mark.skipif(
    not shutil.which("curl") and not os.environ.get("CI"),
    reason="curl is not installed: apt-get install curl",
)
def test_printed_curl_commands_work(demo_server):
    pasted = demo_server.log.read_text().partition("terminal:\n")[2].partition("\n[")[0]

    said = subprocess.check_output(
        ["sh"], input=pasted, text=True, stderr=subprocess.DEVNULL, env=demo_server.env
    )

    headers, _, body = said.partition("\n\n")
    assert headers.startswith("HTTP/1.1 200 ")
    assert json.loads(body)["data"]["connectionName"] == "Updated Stripe Connection"


def test_start_prints_urls_and_passwords(demo_server):
    log = demo_server.log.read_text()

    pages = [f"{demo_server.url}{path}" in log for path in ("", "/admin/", "/docs/")]
    assert pages == [True] * 3
    assert len(demo_server.passwords) == 4


def test_start_prints_no_warning(demo_server):
    assert "[WARNING]" not in demo_server.log.read_text()


def test_chunked_body_is_read(demo_server, token):
    request = demo_server.request(token, chunked(name_change("Chunked")), length=CHUNKED)

    assert demo_server.ask(request)[1]["data"]["connectionName"] == "Chunked"


@pytest.mark.parametrize("length", [70_000, 1_000_000])
def test_long_chunked_body_is_413(length, demo_server, token):
    """Without a Content-Length, the length is only known after reading."""
    request = demo_server.request(token, chunked(name_change("x" * length), 8_192), length=CHUNKED)

    status, body = demo_server.ask(request)

    assert (status, body["code"]) == (413, "4130")


def test_long_body_is_413(demo_server, token):
    status, body = demo_server.ask(demo_server.request(token, name_change("x" * 70_000)))

    assert (status, body["code"]) == (413, "4130")


def test_pipelined_requests_are_answered_in_order(demo_server, token):
    with demo_server.connect() as connection:
        connection.sendall(
            b"".join(demo_server.request(token, name_change(name)) for name in ("One", "Two"))
        )
        stream = connection.makefile("rb")
        names = [answer(stream)[1]["data"]["connectionName"] for _ in range(2)]

    assert names == ["One", "Two"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_other_methods_are_405(method, demo_server, token):
    with demo_server.connect() as connection:
        connection.sendall(demo_server.request(token, method=method))

        assert connection.makefile("rb").readline().split()[1] == b"405"


def test_http_2_is_not_supported(demo_server):
    """A body of HTTP/2 may have no length, and Django would read it as empty."""
    with demo_server.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")

        assert connection.recv(1) == b""


def test_stop_finishes_running_requests_and_removes_the_metrics(demo_server, token):
    # A server that another test killed has left its directory behind.
    [worker] = demo_server.workers()
    [counted] = demo_server.log.parent.glob(f"metrics-*/counter_{worker.pid}.db")
    body = name_change("In flight")
    request = demo_server.request(token, body).replace(
        b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1
    )
    with demo_server.connect() as connection, demo_server.connect() as stalled:
        # A client that never sends the rest does not keep the server from stopping.
        stalled.sendall(demo_server.request(token, body)[:-1])
        stream = connection.makefile("rb")
        connection.sendall(request[: -len(body)])
        # The server asks for the body, so it is processing the request.
        assert stream.readline().split()[1] == b"100"
        assert stream.readline() == b"\r\n"
        demo_server.process.terminate()
        connection.sendall(body.encode())
        status, answered = answer(stream)
        ended = demo_server.process.wait(PATIENCE_SECONDS)
    is_left = counted.parent.exists()
    demo_server.start()

    assert (status, answered["data"]["connectionName"]) == (200, "In flight")
    assert ended == 0
    assert not is_left
