"""What the calls around the update cost: statements, and milliseconds for a caller alone."""

import http.client
import json
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from statistics import median
from typing import Any

from benchmarks.servers import PATH, Bench, Figures
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
    """Statements and median milliseconds of each call; a wrong answer is counted as such."""
    client = http.client.HTTPConnection("127.0.0.1", bench.ports["product"])
    headers = {
        "Authorization": f"Bearer {bench.log_in()}",
        "X-PORTAL-ACCESS-CODE": PRODUCTION["PORTAL_ACCESS_CODE"],
        "Content-Type": "application/json",
    }
    numbers = count()

    def data(method: str, path: str, body: Any, key: str | None = None) -> Any:
        named = {"Idempotency-Key": key.replace("NUMBER", str(next(numbers)))} if key else {}
        client.request(method, path, json.dumps(body) if body else None, headers | named)
        answer = json.load(client.getresponse())
        bench.wrong += not answer["success"]
        return answer.get("data")

    # One of its own: the textbook's records in the audit are of another form.
    row = data("POST", f"{LIST}/create", CREATED)["bizId"]
    for number in range(PAGE):
        data("POST", PATH, {"connectionBizId": row, "connectionName": f"Name {number}"})

    def timed(method: str, path: str, body: Any, key: str | None) -> float:
        started = time.perf_counter()
        data(method, path.replace("ROW", row), body, key)
        return 1000 * (time.perf_counter() - started)

    def several(call: Any) -> list[float]:
        return [timed(*call) for _ in range(REQUESTS)]

    found = {}
    for name, call in CALLS.items():
        several(call)
        milliseconds = median(several(call))
        statements = bench.counted(partial(several, call), REQUESTS)
        found[name] = statements | {"median_ms": milliseconds}
    return found


def table(calls: dict[str, Figures]) -> Iterator[str]:
    """The figures as Markdown."""
    yield "| call | median ms | SQL |"
    yield "|---|---|---|"
    for name, figures in calls.items():
        yield "| {} | {median_ms:.1f} | {sql:g} + {transaction:g} |".format(name, **figures)
