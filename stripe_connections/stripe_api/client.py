"""One request to Stripe, with its own library: whose key is this?

Only `verification` imports this, and only if STRIPE_VERIFY is on: the library takes 22 MB and a
tenth of a second.
"""

import json
import re
from collections.abc import Mapping
from time import monotonic
from typing import Any

import requests
import stripe
from django.conf import settings
from urllib3.exceptions import HTTPError

from stripe_connections.models import PERMISSION_LENGTH, Reply, Verification

CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
MAX_ANSWER_BYTES = 64 * 1024

_account_id = re.compile(r"acct_[A-Za-z0-9]{1,250}").fullmatch
# Such as the name in: Having the permission rak_accounts_kyc_basic_read would allow this request.
_permission = re.compile(rf"\brak_[a-z0-9_]{{1,{PERMISSION_LENGTH - 4}}}\b").search

stripe.enable_telemetry = False
# The library loads most of itself when it is first used; no request should wait for that.
_ = stripe.StripeClient("sk_").v1.accounts


def retrieve_account(api_key: str, context: str | None, deadline: float) -> Reply:
    """The account of `api_key`, see https://docs.stripe.com/api/accounts/retrieve.

    `context` is the account that the request names if the key is an organization's.
    """
    client = stripe.StripeClient(
        api_key,
        stripe_context=context,
        max_network_retries=1,
        http_client=_BoundedClient(monotonic() + deadline),
        base_addresses={"api": settings.STRIPE_API_BASE.rstrip("/")},
    )
    try:
        account_id = client.v1.accounts.retrieve_current().id
        if _account_id(account_id):
            return Reply(Verification.VERIFIED.value, account_id=account_id, status=200)
    except stripe.AuthenticationError:
        return Reply(Verification.REJECTED.value, status=401)
    except stripe.PermissionError as error:
        permission = error.user_message or None
        return Reply(Verification.RESTRICTED.value, missing_permission=permission, status=403)
    except Exception as error:  # noqa: BLE001 - the library turns garbage into any kind of error
        return Reply(status=getattr(error, "http_status", None))
    return Reply(status=200)


class _BoundedClient(stripe.HTTPClient):
    """Takes no longer than it may, reads no more than it must, and follows no redirect."""

    name = "requests"

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: Any = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        try:
            return self._request(method, url, dict(headers or {}))
        except (OSError, HTTPError) as error:
            # Another wait would outlast the deadline.
            is_slow = isinstance(error, requests.Timeout | TimeoutError)
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call]
                "No answer.", should_retry=not is_slow
            ) from None

    def _request(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[str, int, Mapping[str, str]]:
        seconds = self._seconds_left()
        timeout = (min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds))
        # What is packed could unpack to any size.
        headers["Accept-Encoding"] = "identity"
        with requests.Session() as session:
            # Otherwise a .netrc would replace the key.
            session.auth = lambda request: request
            # HTTPS_PROXY hands on what it cannot read. Another proxy would read the key, on its way
            # to an address of this machine, as that one without TLS must be.
            session.trust_env = not url.lower().startswith("http:")
            with session.request(
                method, url, headers=headers, timeout=timeout, allow_redirects=False, stream=True
            ) as response:
                retry = response.headers.get("Stripe-Should-Retry", "")
                # Of the other headers the library would print one, "Stripe-Notice".
                kept = {"stripe-should-retry": retry} if retry else {}
                body = _harmless(self._body(response))
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


def _harmless(body: bytes) -> str:
    """Of an answer, the account's id or the permission that an error names, and nothing else.

    Stripe's texts repeat what was typed, and its library puts them into logs and exceptions.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    match answer:
        case {"error": {"message": str(text)}}:
            name = _permission(text)
            kept: Any = {"error": {"message": name[0] if name else ""}}
        case {"error": dict()}:
            kept = {"error": {}}
        case {"id": str(account_id)}:
            kept = {"id": account_id}
        case _:
            return ""
    return json.dumps(kept)
