"""A fake Stripe API over real HTTP, with responses that the test chooses.

`localstripe` does not implement accounts, which verification requests.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

STORED, OTHER = "acct_1234567890", "acct_other"


class Handler(BaseHTTPRequestHandler):
    """Records the request and calls the test's `answer`."""

    def do_GET(self) -> None:
        fake = self.server.fake  # type: ignore[attr-defined]
        # Not `self.path`, which the library normalizes.
        fake.requests.append((self.requestline.split()[1], dict(self.headers)))
        try:
            fake.answer(self)
        except OSError:
            # The client closed the connection early.
            self.close_connection = True

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class FakeStripe:
    """Calls `answer` with the handler of each request; most methods here set `answer`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.is_over = threading.Event()
        # Whether `drips` sent its whole response.
        self.has_ended = False
        # Shortens the client's timeouts; the deadline is in seconds.
        self.hurry: Callable[[float], None] = lambda _: None
        self.answer: Callable[[Handler], None]
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.fake = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.knows(STORED)

    @property
    def keys(self) -> list[str]:
        """The keys that were sent to `/v1/account`, in order."""
        return [
            headers["Authorization"].removeprefix("Bearer ")
            for path, headers in self.requests
            if path == "/v1/account"
        ]

    def sends(self, status: int, body: Any, **headers: str) -> None:
        """Answer every request with this response. A `body` that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = lambda handler: handler.send(status, data, **headers)

    def knows(self, account_id: str) -> None:
        """Answer that every key belongs to this account."""
        self.sends(200, {"id": account_id, "object": "account", "email": "owner@example.com"})

    def fails(self, status: int, message: str = "No.", **headers: str) -> None:
        """Answer with an error in Stripe's format."""
        error = {"type": "invalid_request_error", "message": message}
        self.sends(status, {"error": error}, **headers)

    def repeats(self, status: int) -> None:
        """Answer with an error that repeats the key in every header and field it can."""

        def answer(handler: Handler) -> None:
            key = handler.headers["Authorization"].removeprefix("Bearer ")
            error = dict.fromkeys(("message", "code", "type", "param", "doc_url"), f"No: {key}")
            body = json.dumps({"error": error}).encode()
            handler.send(status, body, Stripe_Notice=key, Request_Id=key, Location=f"/{key}")

        self.answer = answer

    def rejects(self) -> None:
        """Answer every key with 401."""
        self.repeats(401)

    def drips(self, start: bytes, letters: int = 500) -> None:
        """Send `start`, then one space at a time, and end with a valid response."""
        end = json.dumps({"id": STORED}).encode()
        end = end if start.endswith(b"\r\n\r\n") else b"\r\n\r\n" + end

        def answer(handler: Handler) -> None:
            handler.wfile.write(start)
            for _ in range(letters):
                if self.is_over.wait(0.02):
                    return
                handler.wfile.write(b" ")
            self.has_ended = True
            handler.wfile.write(end)

        self.hurry(3)
        self.answer = answer

    def is_silent(self) -> None:
        """Accept the request and never respond.

        The client sends it for certain; this may receive it after the client has given up.
        """
        self.hurry(60)

        def answer(_: Handler) -> None:
            self.is_over.wait(60)

        self.answer = answer


@contextmanager
def serving() -> Iterator[FakeStripe]:
    """Run a fake Stripe until the end of the block."""
    fake = FakeStripe()
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        fake.is_over.set()
        fake.server.shutdown()
        fake.server.server_close()
        thread.join()


@pytest.fixture
def fake_stripe(settings: Any) -> Iterator[FakeStripe]:
    """A fake Stripe that the settings point to; they do not turn verification on."""
    with serving() as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


@pytest.fixture
def stripe(fake_stripe: FakeStripe, settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeStripe:
    """Verification is on, and every key belongs to the connection's account."""
    # Tests without verification need not import it.
    from stripe import HTTPClient

    from stripe_connections.stripe_api import client, verification

    def wait(read: float, deadline: float) -> None:
        monkeypatch.setattr(client, "READ_SECONDS", read)
        monkeypatch.setattr(verification, "DEADLINE_SECONDS", deadline)

    def hurry(deadline: float) -> None:
        """Wait only a second for a part of the response."""
        wait(read=1, deadline=deadline)

    # The fake answers, so wait for it, however busy the machine is.
    monkeypatch.setattr(client, "CONNECT_SECONDS", 60)
    wait(read=60, deadline=60)
    fake_stripe.hurry = hurry
    settings.STRIPE_VERIFY = True
    # The wait before a retry.
    monkeypatch.setattr(HTTPClient, "INITIAL_DELAY", 0.01)
    return fake_stripe
