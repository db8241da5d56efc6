"""The worker processes of the real server share rate limits and metrics."""

import json
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import pytest

from tests.conftest import LIMIT
from tests.service import PATIENCE_SECONDS, Demo, avoid_midnight, name_change, wait_for

CALLS = 100
ROUTE = "web/v1/workspaces/<str:workspace_id>/stripe/connections/update"


@pytest.fixture(scope="module")
def token(strict_server: Demo) -> str:
    return strict_server.token()


@pytest.fixture
def metrics_directory(strict_server: Demo) -> Path:
    return Path(strict_server.env["PROMETHEUS_MULTIPROC_DIR"])


@pytest.fixture(scope="module")
def statuses(strict_server: Demo, token: str) -> Counter[int]:
    """The statuses of many concurrent updates, each over a new connection."""
    avoid_midnight()
    with ThreadPoolExecutor(8) as pool:
        requests = [
            strict_server.request(token, name_change(f"Name {number}")) for number in range(CALLS)
        ]
        return Counter(status for status, _ in pool.map(strict_server.ask, requests))


def get(server: Demo, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection(server.host, server.port, timeout=PATIENCE_SECONDS)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def updates(server: Demo) -> dict[str, float]:
    """Return the number of updates by status, for both workers together."""
    status, page = get(server, "/metrics", Authorization=f"Bearer {server.env['METRICS_TOKEN']}")
    assert status == 200
    line = rf'http_requests_total{{code="(\d+)",method="POST",route="{re.escape(ROUTE)}"}} (\S+)'
    return {code: float(count) for code, count in re.findall(line, page)}


def page_with_gauges(server: Demo) -> str:
    """Wait until a worker has computed the gauges, and return the page."""

    def page() -> str | None:
        sent = f"Bearer {server.env['METRICS_TOKEN']}"
        _, text = get(server, "/metrics", Authorization=sent)
        return text if "\ntables_read_timestamp_seconds " in text else None

    return str(wait_for(page, "The computing of the gauges"))


def pids(directory: Path) -> set[int]:
    return {int(file.stem.rpartition("_")[2]) for file in directory.glob("counter_*.db")}


def test_processes_share_the_limit(statuses):
    assert statuses == {200: LIMIT, 429: CALLS - LIMIT}


def test_metrics_include_all_processes(strict_server, statuses, metrics_directory):
    assert len(pids(metrics_directory)) == 2
    assert updates(strict_server) == {"200": LIMIT, "429": CALLS - LIMIT}


def test_gauges_are_the_same_from_every_worker(strict_server):
    """Each worker has its own file. The zeros of a worker without gauges must not be shown."""
    page_with_gauges(strict_server)
    pages = [page_with_gauges(strict_server) for _ in range(5)]

    lines = {re.search(r'connections_stored\{.*"0-89 days".*"unver.* (\S+)', p)[1] for p in pages}
    assert len(lines) == 1
    assert float(lines.pop()) > 0
    assert {float(re.search(r"\nworker_starts_total (\S+)", page)[1]) for page in pages} == {2}


def test_probes_accept_an_ip_address_as_the_host(strict_server):
    assert get(strict_server, "/healthz") == (200, '{"status": "ok"}')
    assert get(strict_server, "/readyz") == (200, '{"status": "ok"}')
    assert get(strict_server, "/metrics") == (404, "")


def test_log_lines_are_json_objects(strict_server, statuses):
    lines = [
        json.loads(text) for text in strict_server.log.read_text().splitlines() if text[:1] == "{"
    ]

    found = [line for line in lines if line.get("route") == ROUTE]
    assert Counter(line["status"] for line in found) == statuses
    assert {line["connection"] for line in found if line["status"] == 200} == {"sc_abc123"}
    assert {line["workspace"] for line in found} == {"ws_demo"}
    assert max(line["queries"] for line in found if line["status"] == 200) >= 2


def test_killed_worker_is_replaced_and_its_counts_are_kept(
    strict_server, token, statuses, metrics_directory
):
    killed, before = strict_server.workers()[0], pids(metrics_directory)
    # Granian gives up if a worker dies in the first 5.5 seconds.
    wait_for(lambda: time.time() - killed.create_time() > 8, "The start of the worker")
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE_SECONDS)

    def is_replaced():
        """Only a worker that has served has files. A request may still reach the killed worker."""
        with suppress(OSError, HTTPException):
            updates(strict_server)
        return pids(metrics_directory) - before

    wait_for(is_replaced, "The replacement")

    assert updates(strict_server) == {"200": LIMIT, "429": CALLS - LIMIT}
    assert strict_server.ask(strict_server.request(token, name_change("Late")))[0] == 429


def test_workers_of_a_killed_server_end(demo_server):
    workers = demo_server.workers()

    demo_server.stop(signal.SIGKILL)

    gone, _ = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    demo_server.start()
    assert len(gone) == len(workers) == 1
