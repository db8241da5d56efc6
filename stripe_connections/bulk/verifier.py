"""The verification requests of a command."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic, sleep

from django.utils import timezone

from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api.replies import Reply, Request
from stripe_connections.stripe_api.verification import MAX_AT_ONCE, verify

# Requests a second; about one account, one a second at most.
COMMAND_RATE = 10.0
ACCOUNT_SECONDS = 1


class Verifier:
    """The requests of a command: each key once, a few at a time, `rate` a second."""

    def __init__(self, rate: float = COMMAND_RATE) -> None:
        self._gap = 1 / rate
        self._executor = ThreadPoolExecutor(MAX_AT_ONCE)
        # When the next request may be sent: about an account, and about any (None).
        self._free_at: dict[str | None, float] = {}
        self._sent: dict[tuple[str, str | None], Future[Reply]] = {}

    def send(self, request: Request) -> Future[Reply]:
        """Send a request, unless the same one was sent before."""
        name = _request_name(request)
        if name not in self._sent:
            self._wait(request.account_id)
            self._sent[name] = self._executor.submit(verify, request, rate=None)
        return self._sent[name]

    def wait(self) -> None:
        """Wait for every reply. Outside any transaction."""
        wait(self._sent.values())

    def reply(self, request: Request) -> Reply:
        """The reply to a request, or an unverified one without `fingerprints` if none was sent."""
        sent = self._sent.get(_request_name(request))
        return sent.result() if sent else Reply(at=timezone.now())

    def close(self) -> None:
        """Send no more; what was sent ends within seconds."""
        self._executor.shutdown(cancel_futures=True)

    def _wait(self, account_id: str | None) -> None:
        now = monotonic()
        at = max(now, *(self._free_at.get(name, 0) for name in (None, account_id)))
        sleep(at - now)
        self._free_at = {name: until for name, until in self._free_at.items() if until > at}
        self._free_at[account_id] = at + ACCOUNT_SECONDS
        self._free_at[None] = at + self._gap


def _request_name(request: Request) -> tuple[str, str | None]:
    """What distinguishes one request from another."""
    return keyring().fingerprint(request.api_key), request.account_id
