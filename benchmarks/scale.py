"""Measure the update call with a million connections, and the server's memory after many requests.

    python -m benchmarks.scale

This runs the product on two databases in turn and compares the cost of a request: one database has
1,000 connections in one workspace, the other a million in 100,000 workspaces. Then it sends 200,000
requests to one server and records its memory. At the end it lets the server idle and counts its
database connections.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks import driver
from benchmarks.rotation import MADE
from benchmarks.servers import Bench, Figures, figures

ROWS = 1_000
MANY_ROWS = 1_000_000
MANY_WORKSPACES = 100_000
STEPS = 10
# The manager is a member of every workspace, like a support account.
MANY = (
    f"""INSERT INTO workspaces_workspace (biz_id, name, is_active, tenant_id)
    SELECT 'ws_many' || n, 'Many', true, (SELECT min(id) FROM workspaces_tenant)
    FROM generate_series(1, {MANY_WORKSPACES}) AS n""",  # noqa: S608
    """INSERT INTO workspaces_membership (role, user_id, workspace_id)
    SELECT 'manager', (SELECT id FROM auth_user WHERE username = 'demo-manager'), id
    FROM workspaces_workspace WHERE biz_id LIKE 'ws_many%'""",
)


# Bytes per row of each table with more than 1,000 rows.
SIZES = """
SELECT relname, n_live_tup, pg_table_size(relid) / n_live_tup, pg_indexes_size(relid) / n_live_tup
FROM pg_stat_user_tables WHERE n_live_tup > 1000 ORDER BY relname
"""


def compare(
    small: Bench, large: Bench, connections: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Return the figures of both, and the medians of the ratios in each round."""
    small.prepare(ROWS, 1)
    large.prepare(MADE, 1)
    for statement in MANY:
        large.sql(statement)
    many = large.sql("SELECT id FROM workspaces_workspace WHERE biz_id LIKE 'ws_many%'")
    # Only copies move to the new workspaces. The requests use the original connections.
    large.multiply(connections, [pk for (pk,) in many])
    large.sql("VACUUM (ANALYZE, FREEZE)")
    results: list[tuple[Figures, Figures]] = []
    for number in range(rounds + 1):
        print(f"Round {number} of {rounds} ...", file=sys.stderr)
        one, two = (
            figures([bench.run("product", body, seconds) for body in driver.bodies()])
            for bench in (small, large)
        )
        results.append((one, two))
    # The first round is a warm-up.
    pairs = results[1:]
    return {
        "small": {name: median(one[name] for one, _ in pairs) for name in pairs[0][0]},
        "large": {name: median(two[name] for _, two in pairs) for name in pairs[0][0]},
        "ratios": {
            name: median(two[name] / one[name] for one, two in pairs) for name in pairs[0][0]
        },
    }


def memory(bench: Bench, requests: int) -> list[float]:
    """Return the memory of the server's processes in MiB, after each tenth of the requests."""
    steps = []
    for _ in range(STEPS):
        bench.run("product", "all", 3_600, requests=requests // STEPS)
        server = psutil.Process(bench.processes["product"].pid)
        processes = [server, *server.children(recursive=True)]
        steps.append(sum(process.memory_info().rss for process in processes) / 2**20)
    return steps


def sizes(bench: Bench) -> dict[str, dict[str, int]]:
    """Return the rows of each table, and the bytes per row of the table and of its indexes."""
    names = ("rows", "bytes", "index_bytes")
    return {table: dict(zip(names, values, strict=True)) for table, *values in bench.sql(SIZES)}


def connections(bench: Bench) -> int:
    """Count the server's database connections."""
    ((count,),) = bench.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return int(count)


def main() -> int:
    """Measure and print; return 1 if a response was wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("--connections", type=int, default=MANY_ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--idle", type=float, default=660, help="seconds, longer than any timeout")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Bench(Path(directory, "small")) as small,
        Bench(Path(directory, "large")) as large,
    ):
        result = compare(small, large, options.connections, options.rounds, options.seconds)
        result["sizes"] = sizes(large)
        result["memory_mib"] = memory(large, options.requests)
        result["connections"] = [connections(large)]
        time.sleep(options.idle)
        result["connections"].append(connections(large))
        large.run("product", "name", 2)
        result["connections"].append(connections(large))
        wrong = small.wrong + large.wrong
    print(json.dumps(result | {"wrong": wrong}, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
