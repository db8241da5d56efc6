"""Measure the response times of the admin's pages with many connections."""

import http.cookiejar
import re
import time
import urllib.parse
import urllib.request
from statistics import median
from typing import Any

from benchmarks.servers import Bench

CONNECTIONS = "/admin/stripe_connections/stripeconnection/"
TURNS = 7


class Staff:
    """A logged-in staff user."""

    def __init__(self, bench: Bench) -> None:
        self.url = f"http://127.0.0.1:{bench.ports['product']}"
        cookies = http.cookiejar.CookieJar()
        # The cookies are secure, so act like the proxy that terminates TLS.
        self.browser = urllib.request.build_opener(Cookies(cookies))
        self.browser.addheaders = [
            ("X-Forwarded-Proto", "https"),
            ("Referer", self.url.replace("http:", "https:")),
        ]
        page = self.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        form = {name: bench.staff[name] for name in ("username", "password")}
        form |= {"csrfmiddlewaretoken": token[1] if token else "", "next": CONNECTIONS}
        data = urllib.parse.urlencode(form).encode()
        self.browser.open(f"{self.url}/admin/login/", data).read()

    def get(self, path: str) -> str:
        text: str = self.browser.open(self.url + path).read().decode()
        return text


class Cookies(urllib.request.HTTPCookieProcessor):
    """Sends secure cookies over plain HTTP, like the proxy."""

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        pairs = [f"{cookie.name}={cookie.value}" for cookie in self.cookiejar]
        request.add_unredirected_header("Cookie", "; ".join(pairs))
        return request


def measure(bench: Bench, rows: int) -> dict[str, Any]:
    """Return the median time of each page in milliseconds, until the last byte."""
    bench.fill(rows)
    staff = Staff(bench)
    pages = {
        "front page": "/admin/",
        "list": CONNECTIONS,
        "last page of the list": f"{CONNECTIONS}?p=10",
        "search by name": f"{CONNECTIONS}?q=Web+shop",
        "search by business id": f"{CONNECTIONS}?q={bench.rows[7]}",
        "search without a hit": f"{CONNECTIONS}?q=nothing-has-this-name",
        "inactive ones": f"{CONNECTIONS}?status__exact=0",
    }
    ((pk,),) = bench.sql("SELECT max(id) FROM stripe_connections_stripeconnection")
    pages |= {"form": f"{CONNECTIONS}{pk}/change/", "history": f"{CONNECTIONS}{pk}/history/"}
    return {"rows": rows, "pages": {name: wait(staff, path) for name, path in pages.items()}}


def wait(staff: Staff, path: str) -> float:
    """Return the median time in milliseconds; the first request is a warm-up."""
    times = []
    for _ in range(TURNS + 1):
        started = time.perf_counter()
        page = staff.get(path)
        times.append(1000 * (time.perf_counter() - started))
        if "Log out" not in page:
            raise RuntimeError(f"Not a page of the admin: {path}")
    return median(times[1:])
