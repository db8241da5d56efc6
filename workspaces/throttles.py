"""Throttles with fixed windows, which are counted in the database for all processes."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Network, ip_address
from threading import Lock
from time import monotonic, time
from typing import Any, NamedTuple, cast

from axes.handlers.database import AxesDatabaseHandler
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from config.delete_expired import ExpiredRows
from config.web_chain.parsers import json_object
from workspaces.models import MAX_CLOCK_DIFFERENCE, CallCount

PERIODS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
PORTIONS = 100

# One atomic statement: a count that is read and then written loses calls. If the clocks of two
# machines differ, the later window counts; but not one of a clock that was wrong and has been put
# back, or nobody could call until that time has come.
TAKE = """
INSERT INTO workspaces_callcount AS stored (key, window_end, calls) VALUES {rows}
ON CONFLICT (key) DO UPDATE SET
  calls = excluded.calls
    + CASE WHEN stored.window_end BETWEEN excluded.window_end AND %s THEN stored.calls ELSE 0 END,
  window_end = CASE WHEN stored.window_end BETWEEN excluded.window_end AND %s
    THEN stored.window_end ELSE excluded.window_end END
RETURNING key, window_end, calls
"""


class Bucket(NamedTuple):
    """Calls that are counted together: at most `limit` in each window of `period` seconds."""

    key: str
    limit: int
    period: int

    @property
    def portion(self) -> int:
        """The number of calls that a process reserves at a time."""
        return max(1, self.limit // PORTIONS)


class Lease:
    """The calls of a bucket that this process has reserved until the window ends."""

    def __init__(self, window_end: int) -> None:
        self.window_end = window_end
        self.remaining = 0
        # Whether the shared count has reached the limit.
        self.is_last = False


class Counter:
    """The leases of one process, for all its threads.

    A process reserves a hundredth of the limit at a time, at least one call, in the shared count,
    and then needs no statement for these calls. Because calls are counted before they are admitted,
    all processes on all machines together never exceed the limit.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._leases: dict[str, Lease] = {}
        self.expired_rows = ExpiredRows(lambda: CallCount.objects.filter(window_end__lt=time()))

    def take(self, buckets: Sequence[Bucket]) -> float | None:
        """Take one call from each bucket, or from none.

        Returns None if all had one, otherwise the seconds until they have one again.
        """
        while True:
            now = time()
            with self._lock:
                leases = [(bucket, self._lease(bucket, now)) for bucket in buckets]
                empty = [(bucket, lease) for bucket, lease in leases if not lease.remaining]
                if not empty:
                    for _, lease in leases:
                        lease.remaining -= 1
                    return None
                if ends := [lease.window_end for _, lease in empty if lease.is_last]:
                    return max(ends) - now
            period = empty[0][0].period
            self._refill([bucket for bucket, _ in empty if bucket.period == period], now)

    def clear(self) -> None:
        """Forget all leases, like a new process."""
        self._leases.clear()

    def _lease(self, bucket: Bucket, now: float) -> Lease:
        lease = self._leases.get(bucket.key)
        if lease is None or not now < lease.window_end <= _latest_end(bucket, now):
            lease = self._leases[bucket.key] = Lease(_window_end(bucket, now))
        return lease

    def _refill(self, buckets: Sequence[Bucket], now: float) -> None:
        """Reserve a portion of each bucket, before the view begins a transaction.

        All of them have the same period.
        """
        if monotonic() >= self.expired_rows.due_at:
            self.expired_rows.delete()
            self._forget_ended(now)
        values = [v for b in buckets for v in (b.key, _window_end(b, now), b.portion)]
        values += [_latest_end(buckets[0], now)] * 2
        with connection.cursor() as cursor:
            cursor.execute(_take_sql(len(buckets)), values)
            taken = {key: (window_end, calls) for key, window_end, calls in cursor.fetchall()}
        with self._lock:
            for bucket in buckets:
                self._add(bucket, *taken[bucket.key])

    def _forget_ended(self, now: float) -> None:
        with self._lock:
            for key in [key for key, lease in self._leases.items() if lease.window_end <= now]:
                del self._leases[key]

    def _add(self, bucket: Bucket, window_end: int, calls: int) -> None:
        lease = self._leases.get(bucket.key)
        # The window may also be an earlier one, if a machine with a fast clock has deleted the one
        # that this process knows. The reserved calls must be used, or it would reserve forever.
        if lease is None or lease.window_end != window_end:
            lease = self._leases[bucket.key] = Lease(window_end)
        lease.remaining += min(bucket.portion, max(0, bucket.limit - calls + bucket.portion))
        lease.is_last = lease.is_last or calls >= bucket.limit


counter = Counter()
# An address with a port or brackets, as some proxies write it (Azure, for one).
_decorated = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+").fullmatch


def take(*counted: tuple[str, str]) -> float | None:
    """Take a call for each scope of the rates and key, like `Counter.take`."""
    buckets = [
        Bucket(f"{key}/{period}", limit, period)
        for scope, key in counted
        for limit, period in _rate(api_settings.DEFAULT_THROTTLE_RATES.get(scope))
    ]
    return counter.take(buckets)


class _Throttle(BaseThrottle):
    """Checked after the permission and before the body."""

    _wait: float | None = None

    def admit(self, *counted: tuple[str, str]) -> bool:
        """Whether all of `counted`, each a scope of the rates and a key, have a call left."""
        self._wait = take(*counted)
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait


class UserThrottle(_Throttle):
    """Counts by user."""

    def allow_request(self, request: Request, view: Any) -> bool:
        return self.admit(("user", f"user:{request.user.pk}"))


class WorkspaceThrottle(_Throttle):
    """Counts by user, and by the workspace of the path."""

    def allow_request(self, request: Request, view: Any) -> bool:
        return self.admit(
            ("user", f"user:{request.user.pk}"),
            ("workspace", f"workspace:{view.kwargs['workspace_id']}"),
        )


class TokenThrottle(_Throttle):
    """Counts the token calls by client address, and a login by user name from all addresses."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """The address is counted first, because an invalid body has no user name."""
        address = _digest("address", _customer(client_address(request) or ""))
        if not self.admit(("token", f"{view.action}:{address}")):
            return False
        name = json_object(request).get("username") if view.action == "obtain" else None
        return not isinstance(name, str) or self.admit(
            ("token", f"{view.action}:{_digest('name', name.casefold())}")
        )


class LoginHandler(AxesDatabaseHandler):
    """Counts the wrong passwords in the admin, but none of a clock that has been put back."""

    def get_user_attempts(self, request: HttpRequest, credentials: Any = None) -> list[Any]:
        latest = timezone.now() + MAX_CLOCK_DIFFERENCE
        found = super().get_user_attempts(request, credentials)
        return [attempts.filter(attempt_time__lte=latest) for attempts in found]


def client_address(request: Request | HttpRequest) -> str | None:
    """The client's IP address, for the throttles and for the admin's login.

    NUM_PROXIES is the number of trusted entries in X-Forwarded-For. If the proxy reports something
    else than an address, such as "unknown", this is the proxy's own address.
    """
    text = BaseThrottle().get_ident(cast("Request", request)) or ""
    found = _decorated(text)
    try:
        address = ip_address((found[1] or found[2]) if found else text)
    except ValueError:
        return request.META.get("REMOTE_ADDR")
    return str(getattr(address, "ipv4_mapped", None) or address)


def _customer(address: str) -> str:
    """The network of one client: with IPv6, it has at least a /64 (RFC 6177)."""
    try:
        return str(IPv6Network((address, 64), strict=False))
    except ValueError:
        return address


def _window_end(bucket: Bucket, now: float) -> int:
    return (int(now) // bucket.period + 1) * bucket.period


def _latest_end(bucket: Bucket, now: float) -> int:
    """The end of the last window that the clock of another machine can be in."""
    return int(now + MAX_CLOCK_DIFFERENCE.total_seconds()) + bucket.period


@lru_cache(maxsize=16)
def _rate(text: str | None) -> list[tuple[int, int]]:
    """Calls and seconds of a rate such as 10/min; empty if there is no limit."""
    if not text:
        return []
    limit, _, period = text.partition("/")
    return [(int(limit), PERIODS[period[0]])]


@lru_cache(maxsize=4)
def _take_sql(count: int) -> str:
    return TAKE.format(rows=", ".join(["(%s, %s, %s)"] * count))


def _digest(kind: str, text: str) -> str:
    """A digest of any text; keyed, because people type passwords as user names."""
    return salted_hmac(kind, text.encode(errors="surrogatepass"), algorithm="sha256").hexdigest()
