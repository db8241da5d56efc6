"""What Stripe says about an API key, asked with its own library.

Only `verification` imports this, and only if STRIPE_VERIFY is on: the library takes 22 MB and a
tenth of a second.
"""

import socket
from collections.abc import Callable, Mapping
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
    Verification,
    read,
)

CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
MAX_ANSWER_BYTES = 64 * 1024


stripe.enable_telemetry = False
# The library loads most of itself when it is first used; no request should wait for that.
_ = stripe.StripeClient("sk_").v1.accounts


class Request:
    """The requests about one key, which end at the deadline, `seconds` from now."""

    def __init__(
        self, api_key: str, account_id: str | None, context: str | None, seconds: float
    ) -> None:
        """`context` is the account that a request names if the key is an organization's."""
        self._http = _BoundedClient(monotonic() + seconds)
        self._account_id, self._context = account_id, context
        self._asks_permissions = not api_key.startswith("sk_")
        self._stripe = stripe.StripeClient(
            api_key,
            stripe_context=context,
            max_network_retries=1,
            http_client=self._http,
            base_addresses={"api": settings.STRIPE_API_BASE.rstrip("/")},
        )

    def close(self) -> None:
        """End a request that is under way."""
        self._http.close()

    def reply(self) -> Reply:
        """Whose key it is, and what it lacks."""
        accounts = self._stripe.v1.accounts
        # https://docs.stripe.com/api/accounts/retrieve
        reply = self._said(accounts.retrieve_current)
        account_id = self._account_id
        if account_id and reply.account_id not in {None, account_id} and not self._context:
            reply = self._connected(reply, account_id)
        return self._with_required_permissions(reply)

    def _connected(self, own: Reply, account_id: str) -> Reply:
        """The reply for a connected account, which a platform's key can retrieve."""
        said = self._said(partial(self._stripe.v1.accounts.retrieve, account_id))
        if said.verification == Verification.VERIFIED and said.account_id == account_id:
            return replace(said, cause=Cause.CONNECTED.value)
        if said.status in {200, 403, 404}:
            return own
        return Reply(cause=said.cause, status=said.status)

    def _with_required_permissions(self, reply: Reply) -> Reply:
        """`reply`, restricted if a restricted key lacks some of STRIPE_REQUIRED_PERMISSIONS."""
        if not (reply.is_conclusive and self._asks_permissions):
            return reply
        account_id = self._account_id if reply.cause == Cause.CONNECTED else None
        missing = []
        for name in settings.STRIPE_REQUIRED_PERMISSIONS:
            said = self._said(
                partial(
                    self._stripe.raw_request,
                    "get",
                    f"/v1/{name}?limit=1",
                    stripe_account=account_id,
                )
            )
            if said.status == 403:
                missing.append(said.missing_permission or name)
        if not missing or reply.verification == Verification.REJECTED:
            return reply
        return replace(
            reply,
            verification=Verification.RESTRICTED.value,
            cause=Cause.REQUIRED_PERMISSION.value,
            missing_permission=", ".join(missing)[:PERMISSION_LENGTH],
        )

    def _said(self, send: Callable[[], Any]) -> Reply:
        # The library raises any kind of error, of garbage too; what was said is known by then.
        with suppress(Exception):
            send()
        return self._http.reply


class _BoundedClient(stripe.HTTPClient):
    """Takes no longer than it may, reads no more than it must, and follows no redirect."""

    name = "requests"

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline
        self._socket: socket.socket | None = None
        self.reply = Reply()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: Any = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        self.reply = Reply(cause=Cause.UNREACHABLE.value)
        try:
            return self._request(method, url, dict(headers or {}))
        except (OSError, HTTPError) as error:
            # Another wait would outlast the deadline.
            is_slow = isinstance(error, requests.Timeout | TimeoutError)
            raise stripe.APIConnectionError("No answer.", should_retry=not is_slow) from None

    def close(self) -> None:
        """End what is being read: a time-out of the socket begins again with every byte."""
        self._deadline = 0
        if self._socket:
            with suppress(OSError):
                # Not the method of a TLS socket, which would change what the thread is using.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def remember(self, connection: Any) -> Any:
        """Let `close` find the socket of a connection, which must not open after the deadline."""
        connect = connection.connect

        def connect_in_time() -> None:
            connect()
            self._socket = connection.sock
            self._seconds_left()

        connection.connect = connect_in_time
        return connection

    def _request(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[str, int, Mapping[str, str]]:
        seconds = self._seconds_left()
        timeout = (min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds))
        # What is packed could unpack to any size.
        headers["Accept-Encoding"] = "identity"
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(self))
            # Otherwise a .netrc would replace the key.
            session.auth = lambda request: request
            # HTTPS_PROXY passes on what it cannot read. Another proxy would read the key, on its
            # way to an address of this machine, as one without TLS must be.
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
        while part := response.raw.read1(MAX_ANSWER_BYTES):
            body += part
            if len(body) > MAX_ANSWER_BYTES:
                raise TimeoutError("Too long an answer.")
            self._seconds_left()
        return body

    def _seconds_left(self) -> float:
        seconds = self._deadline - monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _Adapter(HTTPAdapter):
    """Shows the client each connection that it opens."""

    def __init__(self, client: _BoundedClient) -> None:
        super().__init__()
        self._client = client

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        open_connection: Any = pool.ConnectionCls
        vars(pool)["ConnectionCls"] = lambda *a, **kw: self._client.remember(
            open_connection(*a, **kw)
        )
        return pool
