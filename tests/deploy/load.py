"""Load the chain and print what each part of it costs: `python -m tests.deploy.load`.

docs/deployment.md shows the result. All parts share the machine with the load generator, so use the
CPU time per request to plan machines, not the requests per second.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.servers import cpu_seconds
from tests.deploy.chain import CODE, Chain, Database, Nginx
from tests.deploy.test_pgbouncer import PROGRAMS, PgBouncer
from tests.service import ROOT, UPDATE, Service

ROUNDS, SECONDS, CONNECTIONS = 5, 3, 16
HOSTS = {"ALLOWED_HOSTS": "127.0.0.1,connections.example.com"}


def drive(chain: Chain, port: int, parts: dict[str, list[psutil.Process]]) -> dict[str, float]:
    """Return requests per second, latencies in ms, and each part's CPU time per request in ms."""
    job: dict[str, Any] = {"port": port, "path": UPDATE, "portal": CODE, "token": chain.token}
    job |= {"rows": chain.connections[1:], "body": "name", "connections": CONNECTIONS}
    before = {part: sum(cpu_seconds(p.pid) for p in ps) for part, ps in parts.items()}
    command = [sys.executable, "-m", "benchmarks.driver"]
    sent = json.dumps(job | {"seconds": SECONDS}).encode()
    result = json.loads(subprocess.check_output(command, input=sent, cwd=ROOT))
    assert result["wrong"] == 0
    latencies = sorted(1000 * value for value in result["latencies"])
    number = len(latencies)
    return {
        "requests/s": number / result["elapsed"],
        "p50": latencies[number // 2],
        "p99": latencies[number * 99 // 100],
    } | {
        part: 1000 * (sum(cpu_seconds(p.pid) for p in ps) - before[part]) / number
        for part, ps in parts.items()
    }


def main() -> None:
    """Load each arrangement in each round, and print the medians."""
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        directory = Path(name)
        database = Database(directory)
        database.execute("CREATE ROLE connections LOGIN SUPERUSER")
        chain = Chain(database, directory, **HOSTS)
        pools = directory / "pgbouncer"
        pools.mkdir(mode=0o755)
        pgbouncer = PgBouncer(min(PROGRAMS), database, pools)
        url = pgbouncer.url(chain.database_url.partition("?")[0].rpartition("/")[2])
        more = HOSTS | {"PREPARED_STATEMENTS": str(pgbouncer.carries).lower()}
        pooled = [Service(url, directory, **more) for _ in range(2)]
        nginx_one = Nginx(pooled[0].port, directory / "one")
        both = "; server ".join(f"127.0.0.1:{service.port}" for service in pooled)
        nginx_two = Nginx(0, directory / "two", SERVICE=both)
        postgres = psutil.Process(database.server.get_pid())
        runs = {
            "service": (chain.service.port, [chain.service], []),
            "Nginx, service": (chain.nginx.port, [chain.service], [chain.nginx]),
            "Nginx, service, PgBouncer": (nginx_one.port, pooled[:1], [nginx_one]),
            "Nginx, two services, PgBouncer": (nginx_two.port, pooled, [nginx_two]),
        }
        rounds = [
            {
                title: drive(
                    chain,
                    port,
                    {
                        "service": [s.process for s in services],
                        "PostgreSQL": [postgres],
                        "Nginx": [n.process for n in proxies],
                        "PgBouncer": [pgbouncer.process],
                    },
                )
                for title, (port, services, proxies) in runs.items()
            }
            for _ in range(ROUNDS + 1)
        ][1:]
        for title in runs:
            figures = {n: median(r[title][n] for r in rounds) for n in rounds[0][title]}
            print(f"| {title} | " + " | ".join(f"{value:.2f}" for value in figures.values()) + " |")
        for process in (nginx_one, nginx_two, *pooled, pgbouncer):
            process.stop()
        chain.close()
        database.close()


if __name__ == "__main__":
    main()
