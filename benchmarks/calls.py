"""Measure the other calls: statements, and milliseconds for a single client."""

import http.client
import json
import time
from collections.abc import Iterator
from itertools import count
from statistics import median
from typing import Any

from benchmarks import driver
from benchmarks.servers import PATH, Bench, Figures
from tests.fake_stripe import serving
from tests.production import PRODUCTION

REQUESTS = 40
PAGE = 50
LIST = PATH.rpartition("/")[0]
CREATED = {"connectionName": "Created", "connectionDescription": "By the benchmark"}
# Method, path, body and Idempotency-Key; NUMBER is replaced with a different number each time.
CALLS = {
    "list, a page of 50": ("GET", LIST, None, None),
    "list, a later page": ("GET", f"{LIST}?after=ROW", None, None),
    "detail": ("GET", f"{LIST}/ROW", None, None),
    "history, a page of 50": ("GET", f"{LIST}/ROW/history", None, None),
    "create": ("POST", f"{LIST}/create", CREATED, None),
    "create with a key": ("POST", f"{LIST}/create", CREATED, "NUMBER"),
    "create with a key used before": ("POST", f"{LIST}/create", CREATED, "0"),
}


def measure(bench: Bench) -> dict[str, Figures]:
    """Return the statements and the median milliseconds of each call; count wrong responses.

    The fake Stripe answers at once, so the time is that of the service.
    """
    caller = Caller(bench, "product")
    # A new connection, because the textbook version writes audit records in another format.
    row = caller.data("POST", f"{LIST}/create", CREATED)["bizId"]
    for number in range(PAGE):
        caller.data("POST", PATH, {"connectionBizId": row, "connectionName": f"Name {number}"})
    found = {name: caller.figures(row, *call) for name, call in CALLS.items()}
    with serving() as stripe:
        bench.environment |= {"STRIPE_VERIFY": "true", "STRIPE_API_BASE": stripe.url}
        bench.environment |= {"THROTTLE_STRIPE": ""}
        bench.start("verifying", "manage.py", "serve")
        caller = Caller(bench, "verifying")
        key = driver.bodies()["secret"] | {"connectionBizId": row}
        found["update of a key, Stripe asked"] = caller.figures(row, "POST", PATH, key)
        named = {"connectionBizId": row}
        found["verify"] = caller.figures(row, "POST", f"{LIST}/verify", named)
    return found


class Caller:
    """Calls a server over one connection."""

    def __init__(self, bench: Bench, server: str) -> None:
        self.bench = bench
        self.client = http.client.HTTPConnection("127.0.0.1", bench.ports[server])
        self.headers = {
            "Authorization": f"Bearer {bench.log_in()}",
            "X-PORTAL-ACCESS-CODE": PRODUCTION["PORTAL_ACCESS_CODE"],
            "Content-Type": "application/json",
        }
        self.numbers = count()

    def data(self, method: str, path: str, body: Any, key: str | None = None) -> Any:
        """Make a call and return the data of the response."""
        named = {"Idempotency-Key": key.replace("NUMBER", str(next(self.numbers)))} if key else {}
        self.client.request(method, path, json.dumps(body) if body else None, self.headers | named)
        answer = json.load(self.client.getresponse())
        self.bench.wrong += not answer["success"]
        return answer.get("data")

    def figures(
        self, row: str, method: str, path: str, body: Any, key: str | None = None
    ) -> Figures:
        """Make a call often, and return its figures."""

        def several() -> list[float]:
            return [timed() for _ in range(REQUESTS)]

        def timed() -> float:
            started = time.perf_counter()
            self.data(method, path.replace("ROW", row), body, key)
            return 1000 * (time.perf_counter() - started)

        several()
        return {"median_ms": median(several())} | self.bench.counted(several, REQUESTS)


def table(calls: dict[str, Figures]) -> Iterator[str]:
    """Yield the figures as a Markdown table."""
    yield "| call | median ms | SQL |"
    yield "|---|---|---|"
    for name, figures in calls.items():
        yield "| {} | {median_ms:.1f} | {sql:g} + {transaction:g} |".format(name, **figures)
