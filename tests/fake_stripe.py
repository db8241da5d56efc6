"""A Stripe of our own, over real HTTP, which answers as a test says.

`localstripe` has no accounts, so what is asked of Stripe here it cannot answer.
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
    """Notes the request, and leaves the answer to the test."""

    def do_GET(self) -> None:
        fake = self.server.fake  # type: ignore[attr-defined]
        # Not `path`, which the library makes beautiful.
        fake.requests.append((self.requestline.split()[1], dict(self.headers)))
        try:
            fake.answer(self)
        except OSError:
            # Who asked did not wait for the end.
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
    """`answer` is called with the handler of every request; the other methods set it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.is_over = threading.Event()
        # Whether somebody has waited for the end of what drips.
        self.has_ended = False
        # Makes those who ask impatient.
        self.hurry: Callable[[], None] = lambda: None
        self.answer: Callable[[Handler], None]
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.fake = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.knows(STORED)

    @property
    def keys(self) -> list[str]:
        """The keys whose account was requested, in order."""
        return [
            headers["Authorization"].removeprefix("Bearer ")
            for path, headers in self.requests
            if path == "/v1/account"
        ]

    def sends(self, status: int, body: Any, **headers: str) -> None:
        """Answer everybody so; what is not bytes goes as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = lambda handler: handler.send(status, data, **headers)

    def knows(self, account_id: str) -> None:
        """Every key is of this account."""
        self.sends(200, {"id": account_id, "object": "account", "email": "owner@example.com"})

    def fails(self, status: int, message: str = "No.", **headers: str) -> None:
        """Answer with an error as Stripe does."""
        error = {"type": "invalid_request_error", "message": message}
        self.sends(status, {"error": error}, **headers)

    def repeats(self, status: int) -> None:
        """Answer with an error whose text repeats the key wherever there is room for it."""

        def answer(handler: Handler) -> None:
            key = handler.headers["Authorization"].removeprefix("Bearer ")
            error = dict.fromkeys(("message", "code", "type", "param", "doc_url"), f"No: {key}")
            body = json.dumps({"error": error}).encode()
            handler.send(status, body, Stripe_Notice=key, Request_Id=key, Location=f"/{key}")

        self.answer = answer

    def rejects(self) -> None:
        """Refuse every key."""
        self.repeats(401)

    def drips(self, start: bytes, letters: int = 500) -> None:
        """Begin with `start` and go on letter by letter, till in the end it is a good answer."""
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

        self.hurry()
        self.answer = answer

    def is_silent(self) -> None:
        """Take the request and say nothing."""
        self.hurry()

        def answer(_: Handler) -> None:
            self.is_over.wait(60)

        self.answer = answer


@contextmanager
def serving() -> Iterator[FakeStripe]:
    """A Stripe that answers until the end of the block."""
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
    """Where questions would go; whether any are asked is the settings' matter."""
    with serving() as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


@pytest.fixture
def stripe(fake_stripe: FakeStripe, settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeStripe:
    """Stripe is asked; it knows every key as that of the connection's account."""
    # Not where it is not asked.
    from stripe import HTTPClient

    from stripe_connections.stripe_api import client, verification

    def wait(read: float, deadline: float) -> None:
        monkeypatch.setattr(client, "READ_SECONDS", read)
        monkeypatch.setattr(verification, "DEADLINE_SECONDS", deadline)

    def hurry() -> None:
        """Time for the request to arrive on a busy machine, and no more."""
        wait(read=1, deadline=3)

    # A Stripe that answers is waited for, however busy the machine is.
    monkeypatch.setattr(client, "CONNECT_SECONDS", 60)
    wait(read=60, deadline=60)
    fake_stripe.hurry = hurry
    settings.STRIPE_VERIFY = True
    # The wait before a second try.
    monkeypatch.setattr(HTTPClient, "INITIAL_DELAY", 0.01)
    return fake_stripe
