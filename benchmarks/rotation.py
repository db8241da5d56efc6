"""How fast rotation is, as a share of the bare cryptography, and what memory it takes.

    python -m tests.postgres python -m benchmarks.rotation --rows 100000

Fills an empty PostgreSQL database, measures the cryptography alone on one core, then runs
`rotate_secrets` as an operator would, with one process and with two, and prints the ratios.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import time
from io import StringIO
from multiprocessing import get_context
from typing import Any

import psycopg
from cryptography.fernet import Fernet, MultiFernet
from psycopg import sql

KEYS = [Fernet.generate_key().decode() for _ in range(3)]
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "config.settings",
    "ENV_FILE": os.devnull,
    "SECRET_KEY": secrets.token_urlsafe(50),
    "JWT_SIGNING_KEY": secrets.token_urlsafe(50),
    "FERNET_KEYS": KEYS[0],
}
SAMPLE = 10_000
MADE = 20_000
BATCH_SIZE = 1_000


def fill(rows: int) -> None:
    """Make the tables and so many connections under the first key, in a database without any."""
    import django  # noqa: PLC0415 - the settings are read from the environment that was just set

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    from stripe_connections.models import StripeConnection  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    if StripeConnection.objects.exists():
        sys.exit("There are connections in this database already; give an empty one.")
    made = min(rows, MADE)
    call_command("load_demo", connections=made, stdout=StringIO())
    connection.close()
    multiply(os.environ["DATABASE_URL"], rows // made - 1)


def multiply(database_url: str, copies: int) -> None:
    """Add so many copies of every connection: to make a million takes longer than to rotate them.

    Each has a business id of its own.
    """
    table = sql.Identifier("stripe_connections_stripeconnection")
    with psycopg.connect(database_url, autocommit=True) as database:
        described = database.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(table)).description
        names = [column.name for column in described or () if column.name not in {"id", "biz_id"}]
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        database.execute(
            sql.SQL(
                "INSERT INTO {table} (biz_id, {columns}) SELECT biz_id || 'x' || n, {columns} "
                "FROM {table}, generate_series(1, {copies}) AS n"
            ).format(table=table, columns=columns, copies=copies)
        )
    vacuum(database_url)


def vacuum(database_url: str) -> None:
    """Tidy up, as autovacuum has long done when keys are rotated the next time."""
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute("VACUUM ANALYZE")


def cryptography_alone() -> float:
    """Rows of two secrets that one core brings under another key in a second."""
    ring = MultiFernet([Fernet(KEYS[1]), Fernet(KEYS[0])])
    tokens = [
        Fernet(KEYS[0]).encrypt(f"{prefix}_{secrets.token_hex(24)}".encode())
        for _ in range(SAMPLE)
        for prefix in ("sk_live", "whsec")
    ]
    started = time.perf_counter()
    for token in tokens:
        ring.rotate(token)
    return SAMPLE / (time.perf_counter() - started)


def rotate(keys: list[str], workers: int) -> tuple[float, int]:
    """Rows a second, and the peak memory of the largest process in MiB."""
    command = f"manage.py rotate_secrets --apply --format json --workers {workers}"
    process = subprocess.Popen(
        [sys.executable, *command.split(), f"--batch-size={BATCH_SIZE}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"FERNET_KEYS": ",".join(keys)},
    )
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    summary = json.loads(output)
    return summary["changed"] / summary["seconds"], usage.ru_maxrss // 1024


def measure(rows: int) -> dict[str, Any]:
    """Fill, and rotate with one process and with two, each beside the floor of that minute."""
    # In a process of its own: a child's peak memory begins at what its parent has.
    filling = get_context("spawn").Process(target=fill, args=(rows,))
    filling.start()
    filling.join()
    if filling.exitcode:
        sys.exit(1)
    runs = []
    for workers in (1, 2):
        vacuum(os.environ["DATABASE_URL"])
        floor = cryptography_alone()
        speed, memory = rotate([KEYS[workers], KEYS[workers - 1]], workers)
        runs.append(
            {
                "processes": workers,
                "rowsPerSecond": round(speed),
                "floor": round(floor),
                "ratio": round(speed / floor, 2),
                "memoryMiB": memory,
            }
        )
    return {"rows": rows, "runs": runs}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    figures = measure(options.rows)
    if options.format == "json":
        print(json.dumps(figures))
        return
    for run in figures["runs"]:
        print(
            "{processes} process(es): {rowsPerSecond:,} rows/s, {ratio} of the bare cryptography "
            "({floor:,} rows/s on one core), {memoryMiB} MiB".format(**run)
        )


if __name__ == "__main__":
    main()
