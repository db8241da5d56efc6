"""What the calls around the update cost: statements, and milliseconds for a caller alone."""

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
# Method, path, body and the Idempotency-Key, in which NUMBER is another one for each request.
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
    """Statements and median milliseconds of each call; a wrong answer is counted as such.

    Stripe is one that answers at once, so what is seen is our own part.
    """
    caller = Caller(bench, "product")
    # One of its own: the textbook's records in the audit are of another form.
    row = caller.data("POST", f"{LIST}/create", CREATED)["bizId"]
    for number in range(PAGE):
        caller.data("POST", PATH, {"connectionBizId": row, "connectionName": f"Name {number}"})
    found = {name: caller.figures(row, *call) for name, call in CALLS.items()}
    with serving() as stripe:
        bench.environment |= {"STRIPE_VERIFY": "true", "STRIPE_API_BASE": stripe.url}
        bench.environment |= {"THROTTLE_STRIPE": ""}
        bench.start("asking", "manage.py", "serve")
        caller = Caller(bench, "asking")
        key = driver.bodies()["secret"] | {"connectionBizId": row}
        found["update of a key, Stripe asked"] = caller.figures(row, "POST", PATH, key)
        named = {"connectionBizId": row}
        found["verify"] = caller.figures(row, "POST", f"{LIST}/verify", named)
    return found


class Caller:
    """Calls a server with one connection that is kept open."""

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
        """What a call answers."""
        named = {"Idempotency-Key": key.replace("NUMBER", str(next(self.numbers)))} if key else {}
        self.client.request(method, path, json.dumps(body) if body else None, self.headers | named)
        answer = json.load(self.client.getresponse())
        self.bench.wrong += not answer["success"]
        return answer.get("data")

    def figures(
        self, row: str, method: str, path: str, body: Any, key: str | None = None
    ) -> Figures:
        """Of a call, which is made often."""

        def several() -> list[float]:
            return [timed() for _ in range(REQUESTS)]

        def timed() -> float:
            started = time.perf_counter()
            self.data(method, path.replace("ROW", row), body, key)
            return 1000 * (time.perf_counter() - started)

        several()
        return {"median_ms": median(several())} | self.bench.counted(several, REQUESTS)


def table(calls: dict[str, Figures]) -> Iterator[str]:
    """The figures as Markdown."""
    yield "| call | median ms | SQL |"
    yield "|---|---|---|"
    for name, figures in calls.items():
        yield "| {} | {median_ms:.1f} | {sql:g} + {transaction:g} |".format(name, **figures)
