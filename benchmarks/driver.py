"""A load generator: `python -m benchmarks.driver` reads a job as JSON and prints a result as JSON.

It keeps connections open and sends the next request when a response arrives. It checks each
response: the status, the row, and the name that was just written. It uses one thread and raw
sockets, because the servers share the machine's CPU with it.
"""

import json
import secrets
import selectors
import socket
import sys
import time
from itertools import count
from typing import Any

HEAD = """\
POST {path} HTTP/1.1\r
Host: 127.0.0.1\r
Authorization: Bearer {token}\r
X-PORTAL-ACCESS-CODE: {portal}\r
X-Request-Id: bench-%d\r
Content-Type: application/json\r
Content-Length: %d\r
\r
"""


class Client:
    """One connection, with rows that no other client updates."""

    def __init__(self, job: dict[str, Any], rows: list[str]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", job["port"]))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = HEAD.format(**job)
        self.body = json.dumps(bodies()[job["body"]])
        self.rows = rows
        self.numbers = count(secrets.randbelow(10**9))
        self.expected: tuple[bytes, ...] = ()
        self.received = b""
        self.sent_at = 0.0

    def send(self) -> None:
        """Send the next request."""
        number = next(self.numbers)
        row, name = self.rows[number % len(self.rows)], f"Name {number}"
        body = self.body.replace("ROW", row).replace("NAME", name)
        self.expected = (f'"bizId":"{row}"'.encode(), b'"success":true')
        if body != self.body.replace("ROW", row):
            self.expected += (f'"connectionName":"{name}"'.encode(),)
        self.received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall((self.head % (number, len(body)) + body).encode())

    def receive(self) -> bool | None:
        """Read; return whether the response is right, or None if it is not complete."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("The server closed the connection.")
        self.received += data
        head, mark, body = self.received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not mark or len(body) < int(length):
            return None
        return head.startswith(b"HTTP/1.1 200") and all(part in body for part in self.expected)


def bodies() -> dict[str, dict[str, str]]:
    """Return the bodies by name, with the placeholders ROW and NAME."""
    row = {"connectionBizId": "ROW"}
    api_key = {"apiKey": f"sk_test_{secrets.token_hex(24)}"}
    return {
        "name": row | {"connectionName": "NAME"},
        "secret": row | api_key,
        "all": row
        | api_key
        | {
            "connectionName": "NAME",
            "connectionDescription": "Takes the payments of the shop",
            "stripeAccountId": "acct_1234567890",
            "webhookSecret": f"whsec_{secrets.token_hex(16)}",
            "partnerEndpoint": "https://partner.example.com/webhook",
            "configJson": '{"currency": "eur", "retries": 3, "events": ["charge.succeeded"]}',
        },
    }


def drive(job: dict[str, Any]) -> dict[str, Any]:
    """Send requests for `seconds`, or `requests` in total, and wait for all responses."""
    rows, width = job["rows"], job["connections"]
    clients = [Client(job, rows[start::width]) for start in range(width)]
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    wrong = 0
    start = now = time.perf_counter()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    left = job.get("requests", sys.maxsize) - width
    waiting = width
    while waiting:
        for key, _ in selector.select():
            right = key.data.receive()
            if right is None:
                continue
            now = time.perf_counter()
            latencies.append(now - key.data.sent_at)
            wrong += not right
            if left > 0 and now - start < job["seconds"]:
                left -= 1
                key.data.send()
            else:
                waiting -= 1
    return {"elapsed": now - start, "latencies": latencies, "wrong": wrong}


if __name__ == "__main__":
    json.dump(drive(json.load(sys.stdin)), sys.stdout)
