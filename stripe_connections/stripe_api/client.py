"""Verification requests to Stripe, sent with its own library.

Only `verification` imports this, and only if STRIPE_VERIFY is on: the library takes 22 MB and a
tenth of a second.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import requests
import stripe
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError

from stripe_connections.stripe_api.replies import (
    PERMISSION_LENGTH,
    Cause,
    Reply,
    Request,
    Verification,
    read,
)

CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
MAX_BODY_BYTES = 64 * 1024

stripe.enable_telemetry = False


class Client:
    """Sends the HTTP requests about one key, which all end within `seconds`."""

    def __init__(self, request: Request, seconds: float) -> None:
        self._request = request
        self._http = _BoundedClient(monotonic() + seconds)
        self._stripe = stripe.StripeClient(
            request.api_key,
            stripe_context=request.context,
            max_network_retries=1,
            http_client=self._http,
            base_addresses={"api": settings.STRIPE_API_BASE.rstrip("/")},
        )

    def close(self) -> None:
        """End a request that is under way."""
        self._http.close()

    def reply(self) -> Reply:
        """The account that the key belongs to or may use, and the permissions it lacks."""
        request = self._request
        # https://docs.stripe.com/api/accounts/retrieve
        reply = self._get("/v1/account")
        if not request.context and reply.is_of_other_account(request.account_id):
            reply = self._connected(reply)
        is_restricted_key = not request.api_key.startswith("sk_")
        is_accepted = reply.verification in {Verification.VERIFIED, Verification.RESTRICTED}
        missing = self._missing_permissions(reply) if is_restricted_key and is_accepted else ""
        if not missing:
            return reply
        return replace(
            reply,
            verification=Verification.RESTRICTED.value,
            cause=Cause.REQUIRED_PERMISSION.value,
            missing_permission=missing,
        )

    def _connected(self, own: Reply) -> Reply:
        """The reply for a connected account, which a platform's key can retrieve."""
        account_id = self._request.account_id
        reply = self._get(f"/v1/accounts/{account_id}")
        if reply.verification == Verification.VERIFIED and reply.account_id == account_id:
            return replace(reply, cause=Cause.CONNECTED.value)
        if reply.status in {200, 403, 404}:
            return own
        return Reply(cause=reply.cause, status=reply.status)

    def _missing_permissions(self, reply: Reply) -> str:
        """Those of STRIPE_REQUIRED_PERMISSIONS that the key lacks."""
        account_id = self._request.account_id if reply.cause == Cause.CONNECTED else None
        names = settings.STRIPE_REQUIRED_PERMISSIONS
        replies = {name: self._get(f"/v1/{name}?limit=1", account_id) for name in names}
        missing = [r.missing_permission or name for name, r in replies.items() if r.status == 403]
        return ", ".join(missing)[:PERMISSION_LENGTH]

    def _get(self, path: str, account_id: str | None = None) -> Reply:
        # The library may raise any kind of error; the reply has been read by then.
        with suppress(Exception):
            self._stripe.raw_request("get", path, stripe_account=account_id)
        return self._http.reply


class _BoundedClient(stripe.HTTPClient):
    """Ends at the deadline, reads a limited number of bytes, and follows no redirect."""

    name = "requests"

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline
        self._socket: socket.socket | None = None
        self.reply = Reply()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, *_body: Any, **_usage: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        self.reply = Reply(cause=Cause.UNREACHABLE.value)
        try:
            return self._send(method, url, dict(headers or {}))
        except (OSError, HTTPError) as error:
            # After a time-out, a second attempt would outlast the deadline.
            is_slow = isinstance(error, requests.Timeout | TimeoutError)
            raise stripe.APIConnectionError("No answer.", should_retry=not is_slow) from None

    def close(self) -> None:
        """End what is being read: a time-out of the socket starts again with every byte."""
        self._deadline = 0
        if self._socket:
            with suppress(OSError):
                # Not the method of a TLS socket, which would change what the thread is using.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def opened(self, connection_class: Any, *args: Any, **kwargs: Any) -> Any:
        """A connection whose socket `close` can find, and that does not open after the deadline."""
        connection = connection_class(*args, **kwargs)
        connect = connection.connect

        def connect_in_time() -> None:
            connect()
            self._socket = connection.sock
            self._seconds_left()

        connection.connect = connect_in_time
        return connection

    def _send(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[str, int, Mapping[str, str]]:
        seconds = self._seconds_left()
        timeout = (min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds))
        # A compressed body could expand to any size.
        headers["Accept-Encoding"] = "identity"
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(self))
            # Otherwise a .netrc would replace the key.
            session.auth = lambda request: request
            # HTTPS_PROXY passes on encrypted bytes. Without TLS, which is for an address of this
            # machine, a proxy would read the key.
            session.trust_env = not url.lower().startswith("http:")
            with session.request(
                method, url, headers=headers, timeout=timeout, allow_redirects=False, stream=True
            ) as response:
                self.reply = read(response.status_code, self._body(response))
                retry = response.headers.get("Stripe-Should-Retry", "")
                # The library would print one of the other headers, "Stripe-Notice".
                kept = {"stripe-should-retry": retry} if retry else {}
                body = "{}" if response.ok else '{"error": {}}'
                return body, response.status_code, kept

    def _body(self, response: requests.Response) -> bytes:
        body = b""
        while part := response.raw.read1(MAX_BODY_BYTES):
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise TimeoutError("The body is too long.")
            self._seconds_left()
        return body

    def _seconds_left(self) -> float:
        seconds = self._deadline - monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _Adapter(HTTPAdapter):
    """Opens each connection through the client."""

    def __init__(self, client: _BoundedClient) -> None:
        super().__init__()
        self._client = client

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        vars(pool)["ConnectionCls"] = partial(self._client.opened, pool.ConnectionCls)
        return pool
