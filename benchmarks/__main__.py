"""Compare the update call with a floor, a textbook version and other frameworks: `make bench`.

There is one PostgreSQL with its default, durable settings, and a server for each version. Each
round runs all of them in turn, so that other load on the machine affects all of them. A figure is
the median of the rounds; a ratio is the median of the ratios in each round.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import admin, calls, driver, peers, plot
from benchmarks.servers import ROOT, Bench, Figures, figures

# Peers can be left out. The floor is always measured, because the ratios need it.
SERVERS = ("floor", "fastify", "product", "fastapi", "textbook")
BODIES = tuple(driver.bodies())
JIT_REQUESTS = 700
ADMIN_ROWS = 100_000
ROTATION_ROWS = 300_000


def summarise(rounds: list[dict[str, Figures]]) -> dict[str, dict[str, Figures]]:
    """Return the medians and the medians of the ratios to the floor, for each server."""
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
        for server in rounds[0]
    }


def warm_up(bench: Bench, server: str, body: str, seconds: float) -> None:
    """Drive a server without measuring it."""
    if server == "fastify":
        # Until Node has compiled the hot functions, a request takes twice the CPU.
        bench.run(server, body, 30, requests=JIT_REQUESTS)
    else:
        bench.run(server, body, seconds)


def measure(bench: Bench, rounds: int, seconds: float) -> dict[str, Any]:
    """Warm up, count statements, run the rounds, and return `update` of the JSON."""
    servers = [server for server in SERVERS if server in bench.processes]
    runs = [(server, body) for server in servers for body in BODIES]
    for server, body in runs:
        warm_up(bench, server, body, min(seconds, 2))
    statements = {server: bench.statements(server) for server in servers}
    results = []
    for number in range(rounds):
        print(f"Round {number + 1} of {rounds} ...", file=sys.stderr)
        results.append({run: bench.run(*run, seconds) for run in runs})

    def summary(bodies: tuple[str, ...]) -> dict[str, dict[str, Figures]]:
        return summarise(
            [{s: figures([r[s, body] for body in bodies]) for s in servers} for r in results]
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
    """Yield the figures as a Markdown table, with their ratios to the floor."""
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


def rotation(bench: Bench, rows: int) -> dict[str, Any]:
    """Measure the rotation in a separate database on the same server."""
    bench.sql("CREATE DATABASE rotation")
    environment = bench.environment | {"DATABASE_URL": bench.database.get_uri("rotation")}
    command = [sys.executable, "-m", "benchmarks.rotation", "--format", "json", "--rows", str(rows)]
    figures: dict[str, Any] = json.loads(
        subprocess.check_output(command, cwd=ROOT, env=environment)
    )
    one, two = figures["runs"]
    return {"crypto_ratio": one["ratio"], "crypto_ratio_two_processes": two["ratio"], **figures}


def main() -> int:
    """Measure, print and write var/bench.json; return 1 if a response was wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="for each server, body and round")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="processes of each server")
    parser.add_argument(
        "--update-only", action="store_true", help="measure neither rotation nor the admin"
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="leave out FastAPI with SQLAlchemy, and Fastify"
    )
    parser.add_argument("--plot", type=Path, help="draw the ratios into this SVG file")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}",
        "options": {name: value for name, value in vars(options).items() if name != "plot"},
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        with Bench(Path(directory, "update")) as bench:
            bench.prepare(options.rows, options.workers)
            others = {} if options.no_peers else peers.commands(options.workers)
            bench.start_beside(("floor", "textbook"), others)
            result["update"] = update = measure(bench, options.rounds, options.seconds)
            result["calls"] = calls.measure(bench)
            update["wrong"] = bench.wrong
            if not options.update_only:
                print("Rotation ...", file=sys.stderr)
                result["rotation"] = rotation(bench, ROTATION_ROWS)
        if not options.update_only:
            print("Admin ...", file=sys.stderr)
            with Bench(Path(directory, "admin")) as bench:
                result["admin"] = admin.measure(bench, ADMIN_ROWS)
    print("\n".join([*table(update), "", *calls.table(result["calls"])]))
    if not options.update_only:
        print(
            "\nRotation, compared with only the cryptography on one core: one process "
            "{crypto_ratio}, two {crypto_ratio_two_processes}".format(**result["rotation"])
        )
        print(f"Admin with {ADMIN_ROWS:,} connections, median ms per page:")
        for page, milliseconds in result["admin"]["pages"].items():
            print(f"  {page}: {milliseconds:.0f}")
    target = ROOT / "var" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    if options.plot:
        options.plot.write_text(plot.svg(update))
    print(f"\n{target.relative_to(ROOT)} has the figures; {update['wrong']} responses were wrong.")
    return 1 if update["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
