"""Run the service for an hour under load with failures, and look for growth and lost updates.

    nice python -m benchmarks.soak --minutes 60 --plot docs/soak.svg

Two servers use one PostgreSQL database. Both receive updates, reads, logins and verifications; the
keys are verified with a fake Stripe.

- `changed` has two workers and receives all new secrets. Every ten minutes the encryption key is
  rotated as in docs/operations.md, which restarts this server three times. Between the rotations,
  its workers are killed.
- `steady` has one worker, and all keys of the run from the start. It is never restarted, so that
  slow growth becomes visible.

After half of the time, PostgreSQL is restarted. The script samples memory, file descriptors,
database sessions, the metrics directories and the sizes of tables and indexes. At the end, each
update that was answered with 200 must be in its connection and in the audit, and
`check_connections` must find nothing.
"""

import argparse
import http.client
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import psycopg
from cryptography.fernet import Fernet

from benchmarks.calls import LIST
from benchmarks.kills import TIMEOUT_SECONDS, Body, Load, has_started, workers
from benchmarks.plot import lines_svg
from benchmarks.servers import ROOT, Bench
from tests.fake_stripe import STORED, serving
from tests.production import PRODUCTION

ROWS = 1_000
STEPS = 6
SAMPLE_SECONDS = 5
SIZES = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class WHERE relname IN
('auditlog_logentry', 'stripe_connections_stripeconnection', 'workspaces_callcount',
'stripe_connections_replacedsecret', 'token_blacklist_outstandingtoken')
"""
SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Soak:
    """The servers, the threads that call them, and the samples."""

    def __init__(self, bench: Bench, minutes: float, stripe_url: str) -> None:
        self.bench, self.seconds = bench, 60 * minutes
        self.keys = [PRODUCTION["FERNET_KEYS"]]
        self.keys += [Fernet.generate_key().decode() for _ in range(STEPS)]
        self.starts: dict[str, int] = {}
        bench.environment |= {"STRIPE_VERIFY": "true", "STRIPE_API_BASE": stripe_url}
        bench.environment |= {"THROTTLE_STRIPE": "", "THROTTLE_TOKEN": ""}
        self.started_at, self.ended = time.monotonic(), Event()
        self.calls: Counter[str] = Counter()
        self.samples: list[dict[str, Any]] = []
        self.events: list[tuple[float, str]] = []
        self.failures: list[str] = []

    def serve(self, server: str, count: int, *keys: str) -> None:
        """Start a server, and wait until its workers serve."""
        directory = self.bench.directory / f"tmp-{server}"
        directory.mkdir(exist_ok=True)
        added = {"TMPDIR": str(directory), "FERNET_KEYS": ",".join(keys)}
        self.bench.environment |= added
        self.bench.start(server, "manage.py", "serve", f"--workers={count}")
        del self.bench.environment["TMPDIR"]
        self.starts[server] = count
        while not has_started(self.bench, server, count):
            if self.bench.processes[server].poll() is not None:
                sys.exit(f"{server} has ended.")
            time.sleep(0.1)

    def note(self, event: str) -> None:
        self.events.append((time.monotonic() - self.started_at, event))
        print(f"{self.events[-1][0]:6.0f} s: {event}", file=sys.stderr)

    # ── Events ────────────────────────────────────────────────────────────────────────────────
    def run(self) -> None:
        """Kill workers, and rotate at the end of each sixth of the time."""
        rest = min(60, self.seconds / STEPS / 2)
        for step in range(STEPS):
            end = self.started_at + self.seconds * (step + 1) / STEPS
            if step == STEPS // 2:
                self.restart_postgresql()
            # After the last kill, the worker needs time to start.
            while time.monotonic() < end - rest:
                self.kill_worker()
                time.sleep(min(40, max(8, end - rest - time.monotonic())))
            if step < STEPS - 1:
                self.rotate(self.keys[step], self.keys[step + 1])
            time.sleep(max(0, end - time.monotonic()))

    def rotate(self, old: str, new: str) -> None:
        """Follow docs/operations.md. Callers are refused while the server restarts."""
        self.note("rotation")
        for ring in ((old, new), (new, old)):
            self.restart(*ring)
        self.command("rotate_secrets", "--apply")
        self.command("census_secrets")
        self.restart(new)
        self.command("census_secrets")

    def restart(self, *keys: str) -> None:
        process = self.bench.processes["product"]
        process.terminate()
        process.wait(120)
        self.serve("product", 2, *keys)

    def command(self, *arguments: str) -> None:
        """Run a management command that must succeed."""
        ended = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            check=False, cwd=ROOT, env=self.bench.environment, capture_output=True, text=True,
        )  # fmt: skip
        if ended.returncode:
            self.failures.append(f"{arguments}: {ended.stdout[-500:]} {ended.stderr[-500:]}")

    def restart_postgresql(self) -> None:
        self.note("restart of PostgreSQL")
        self.bench.database.stop()
        self.bench.database.ensure_postgres_running()

    def kill_worker(self) -> None:
        if has_started(self.bench, "product", self.starts["product"]):
            secrets.choice(workers(self.bench, "product")).kill()
            self.starts["product"] += 1
            self.calls["kills"] += 1

    # ── Callers ───────────────────────────────────────────────────────────────────────────────
    def every(self, seconds: float, call: Callable[[], None]) -> Thread:
        """Call it in a thread, until the end of the run."""

        def repeat() -> None:
            while not self.ended.wait(seconds):
                # A server, its workers or PostgreSQL may be restarting.
                with suppress(OSError, http.client.HTTPException, psycopg.Error, psutil.Error):
                    call()

        thread = Thread(target=repeat)
        thread.start()
        return thread

    def call(self, server: str, what: str, method: str, path: str, body: Any = None) -> Any:
        """Make a request, count the status or the error, and return the data."""
        headers = {
            "Authorization": f"Bearer {self.bench.token}",
            "X-PORTAL-ACCESS-CODE": PRODUCTION["PORTAL_ACCESS_CODE"],
            "Content-Type": "application/json",
        }
        port = self.bench.ports[server]
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        try:
            client.request(method, path, json.dumps(body) if body else None, headers)
            response = client.getresponse()
            data = json.loads(response.read())
            self.calls[f"{what}: {response.status}"] += 1
            return data.get("data")
        except (OSError, http.client.HTTPException) as error:
            self.calls[f"{what}: {type(error).__name__}"] += 1
            raise
        finally:
            client.close()

    def read(self) -> None:
        for server in ("product", "steady"):
            row = secrets.choice(self.bench.rows)
            for path in (LIST, f"{LIST}/{row}", f"{LIST}/{row}/history"):
                self.call(server, "reads", "GET", path)

    def verify(self) -> None:
        for server in ("product", "steady"):
            body = {"connectionBizId": secrets.choice(self.bench.rows)}
            self.call(server, "verifications", "POST", f"{LIST}/verify", body)

    def log_in(self) -> None:
        login = {name: self.bench.user[name] for name in ("username", "password")}
        for server in ("product", "steady"):
            data = self.call(server, "logins", "POST", "/web/v1/auth/token", login)
            body = {"refreshToken": data["refreshToken"]} if data else {}
            self.call(server, "refreshes", "POST", "/web/v1/auth/token/refresh", body)

    # ── Samples ───────────────────────────────────────────────────────────────────────────────
    def sample(self) -> None:
        seen: dict[str, Any] = {"at": time.monotonic() - self.started_at}
        for server in ("product", "steady"):
            main = self.bench.processes[server]
            seen |= {f"{server} {name}": value for name, value in _processes(main)}
            files = (self.bench.directory / f"tmp-{server}").glob("metrics-*/*.db")
            seen[f"{server} metrics"] = sum(file.stat().st_size for file in files)
        seen["sessions"] = self.bench.sql(SESSIONS)[0][0]
        for table, size, indexes in self.bench.sql(SIZES):
            name = table.partition("_")[2].removeprefix("connections_")
            seen |= {f"{name} table": size, f"{name} indexes": indexes}
        self.samples.append(seen)


def _processes(main: psutil.Process) -> Iterator[tuple[str, Any]]:
    """Return memory in bytes, descriptors and threads; the maximum of the workers."""
    children = [p for p in main.children() if "resource_tracker" not in str(p.cmdline())]
    if not children:
        raise psutil.NoSuchProcess(main.pid)
    yield "main memory", main.memory_info().rss
    yield "main descriptors", main.num_fds()
    yield "worker memory", max(p.memory_info().rss for p in children)
    yield "worker descriptors", max(p.num_fds() for p in children)
    yield "worker threads", max(p.num_threads() for p in children)


def secret_change(number: int) -> Body:
    """Every tenth update also replaces the key, every twentieth the webhook secret."""
    more: Body = {}
    if number % 10 == 0:
        more |= {"apiKey": f"sk_test_{secrets.token_hex(24)}", "stripeAccountId": STORED}
    if number % 20 == 0:
        more["webhookSecret"] = f"whsec_{secrets.token_hex(16)}"
    return more


def plot(soak: Soak) -> str:
    """Draw at most 150 samples as lines in panels."""
    samples = soak.samples[:: len(soak.samples) // 150 + 1]
    times = [sample["at"] / 60 for sample in samples]

    def series(unit: float, **names: str) -> dict[str, list[float | None]]:
        return {
            label: [s[name] / unit if name in s else None for s in samples]
            for label, name in names.items()
        }

    panels = {
        "Memory of a process, MiB": series(
            2**20, steady="steady worker memory", changed="product worker memory",
            main="steady main memory",
        ),
        "File descriptors of a worker": series(
            1, steady="steady worker descriptors", changed="product worker descriptors"
        ),
        "Sessions of PostgreSQL": series(1, all="sessions"),
        "Files of the metrics, MiB": series(
            2**20, steady="steady metrics", changed="product metrics"
        ),
        "Audit, MiB": series(2**20, table="logentry table", indexes="logentry indexes"),
        "Other tables with indexes, MiB": {
            label: [
                sum(sample.get(f"{table} {part}", 0) for part in ("table", "indexes")) / 2**20
                for sample in samples
            ]
            for label, table in (
                ("connections", "stripeconnection"),
                ("replaced secrets", "replacedsecret"),
                ("call counts", "callcount"),
            )
        },
    }  # fmt: skip
    marks = [(at / 60, event) for at, event in soak.events]
    return lines_svg(f"{times[-1]:.0f} minutes under load, with failures", times, panels, marks)


def soak(bench: Bench, minutes: float, rate: float) -> tuple[Soak, dict[str, Any]]:
    """Run for this number of minutes; returns the run and the result of each load."""
    with serving() as stripe:
        run = Soak(bench, minutes, stripe.url)
        bench.prepare(ROWS, workers=2)
        bench.processes["product"].terminate()
        bench.processes["product"].wait(120)
        run.serve("steady", 1, *run.keys)
        run.serve("product", 2, run.keys[0])
        bench.log_in()
        run.started_at = time.monotonic()
        half = len(bench.rows) // 2
        some: dict[str, Any] = {"clients": 4, "rate": rate / 8}
        loads = {
            "changed": Load(bench, "product", bench.rows[:half], **some, more=secret_change),
            "steady": Load(bench, "steady", bench.rows[half:], **some),
        }
        calls = {run.read: 0.5, run.verify: 2, run.log_in: 15, run.sample: SAMPLE_SECONDS}
        threads = [run.every(seconds, call) for call, seconds in calls.items()]
        try:
            run.run()
        except (SystemExit, RuntimeError, psutil.Error) as error:
            run.failures.append(str(error))
        finally:
            run.ended.set()
            for thread in threads:
                thread.join()
            for load in loads.values():
                load.stop()
        run.command("check_connections")
    result = {name: load.result() for name, load in loads.items()}
    return run, result


def main() -> int:
    """Run, print and write var/soak.json; returns 1 if an update was lost or a command failed."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=80, help="updates a second in all")
    parser.add_argument("--plot", type=Path, help="draw the samples into this SVG file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Bench(Path(directory, "soak")) as bench,
    ):
        run, loads = soak(bench, options.minutes, options.rate)
    result = {
        "loads": loads,
        "calls": dict(sorted(run.calls.items())),
        "failures": run.failures,
        "first": run.samples[0],
        "last": run.samples[-1],
    }
    print(json.dumps(result, indent=2))
    target = ROOT / "var" / "soak.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result | {"events": run.events, "samples": run.samples}) + "\n")
    if options.plot:
        options.plot.write_text(plot(run))
    wrong = sum(load["lost"] + load["wrong_rows"] for load in loads.values())
    return 1 if wrong or run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
