"""Slow, broken and hostile clients get an error and do not disturb others."""

import json
import socket
import struct
from contextlib import ExitStack, closing

import pytest

from tests.deploy.chain import HOST
from tests.service import UPDATE

CREATE = UPDATE.replace("/update", "/create")
STALLED = 60
CLOSE = "Connection: close"


def head(*lines: str, first: str = f"POST {UPDATE} HTTP/1.1") -> bytes:
    return "\r\n".join([first, f"Host: {HOST}", *lines]).encode() + b"\r\n"


def stalled(chain, stack, sent):
    """Open connections that send these bytes and then nothing."""
    for _ in range(STALLED):
        client = stack.enter_context(
            closing(socket.create_connection(("127.0.0.1", chain.nginx.port), 60))
        )
        client.sendall(sent)


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST", head("X-Slow: "), head("Content-Length: 50000") + b'\r\n{"connectionBizId":'],
    ids=["nothing", "half a line", "half a header", "half a body"],
)
def test_incomplete_requests_do_not_block_others(chain, sent):
    with ExitStack() as stack:
        stalled(chain, stack, sent)

        assert chain.rename("Meanwhile").status == 200


def test_clients_that_read_no_response_do_not_block_others(chain):
    request = head("Content-Length: 2") + b"\r\n{}"
    with ExitStack() as stack:
        stalled(chain, stack, request * 20)

        assert chain.rename("Meanwhile").status == 200


def test_clients_that_reset_the_connection_do_not_block_others(chain):
    """They update a connection of their own, because Nginx sends a few requests on, maybe late."""
    created = chain.ask({"connectionName": "Gone"}, path=CREATE).json["data"]["bizId"]
    body = json.dumps({"connectionBizId": created, "connectionName": "Gone"})
    request = head(
        f"Authorization: Bearer {chain.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    for _ in range(STALLED):
        client = socket.create_connection(("127.0.0.1", chain.nginx.port), 60)
        client.sendall(request + b"\r\n" + body.encode())
        # Send a reset instead of closing normally.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    assert chain.rename("Meanwhile").status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /web/ HTTP/9.9\r\n\r\n",
        b"POST /web/ HTTP/1.1\r\n\r\n",
        b"POST /web/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        head("Content-Length: ten") + b"\r\n",
        head("Content-Length: -1") + b"\r\n",
        head("Content-Length: 1", "Content-Length: 2") + b"\r\n{}",
        head("Content-Length: 2", "Transfer-Encoding: chunked") + b"\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"\r\nzz\r\n{}\r\n0\r\n\r\n",
        head("Transfer-Encoding: gzip") + b"\r\n",
        head("Bad Header: x") + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head(CLOSE, first="TRACE /web/ HTTP/1.1") + b"\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        head(CLOSE, first="GET http://127.0.0.1/admin/ HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /web/../admin/ HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /web/%00 HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /web/<x> HTTP/1.1") + b"\r\n",
        head(CLOSE, first='GET /web/?"^`" HTTP/1.1') + b"\r\n",
        head(CLOSE, first="GET /web/\xfc HTTP/1.1") + b"\r\n",
        head(CLOSE, "Accept: \1", first="GET /web/ HTTP/1.1") + b"\r\n",
        head(CLOSE, "Authorization: Bearer \x7f", first="GET /web/ HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /admin/../web/ HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /admin/x/change/..%2f..%2f../web/ HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /docs/../web/ HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /admin/../docs/ HTTP/1.1") + b"\r\n",
        head(CLOSE, first="GET /web/..%2fadmin/ HTTP/1.1") + b"\r\n",
        head(CLOSE, "Content-Length: 0").replace(HOST.encode(), b"evil.example") + b"\r\n",
    ],
)
def test_malformed_request_is_refused_in_the_envelope(chain, request_bytes):
    before = chain.name_of()

    received = chain.raw(request_bytes)

    status, _, body = received.partition(b"\r\n\r\n")
    assert status.split()[1][:1] in {b"4", b"5"}
    answered = json.loads(body)
    assert (answered["success"], answered["code"][:2]) == (False, status.split()[1][:2].decode())
    assert chain.name_of() == before
    assert chain.rename("Meanwhile").status == 200


def test_pipelined_requests_are_answered_in_order(chain):
    def request(name):
        body = json.dumps({"connectionBizId": "sc_abc123", "connectionName": name})
        return (
            head(
                f"Authorization: Bearer {chain.token}",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
            )
            + f"\r\n{body}".encode()
        )

    last = head("Connection: close") + b"\r\n"
    received = chain.raw(b"".join(request(f"Pipelined {number}") for number in range(5)) + last)

    names = [part.split('"')[0] for part in received.decode().split('"connectionName":"')[1:]]
    assert names == [f"Pipelined {number}" for number in range(5)]


def test_request_with_two_idempotency_keys_never_creates_twice(chain):
    """Nginx before 1.23 forwards the first header; later versions join them, which is 400."""
    body = json.dumps({"connectionName": "Created with two keys"})
    request = head(
        f"Authorization: Bearer {chain.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Idempotency-Key: one",
        "Idempotency-Key: two",
        CLOSE,
        first=f"POST {CREATE} HTTP/1.1",
    )

    responses = [chain.raw(request + b"\r\n" + body.encode()) for _ in range(2)]

    [(stored,)] = chain.rows(
        "SELECT count(*) FROM stripe_connections_stripeconnection"
        " WHERE connection_name = 'Created with two keys'"
    )
    assert [response.split()[1] for response in responses] == [b"200" if stored else b"400"] * 2
    assert stored in {0, 1}


def test_second_request_inside_a_body_is_part_of_the_body(chain):
    """Request smuggling is not possible, because Nginx and the service agree on a body's end."""
    hidden = head("Content-Length: 0", first="POST /web/v1/hidden HTTP/1.1") + b"\r\n"
    request = head(f"Content-Length: {len(hidden)}", "Connection: close") + b"\r\n" + hidden

    received = chain.raw(request)

    assert received.count(b"HTTP/1.1 ") == 1
    assert b"4010" in received
