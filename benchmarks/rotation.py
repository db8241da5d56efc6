"""Measure the speed and memory of a rotation, compared with only its cryptography.

    python -m tests.postgres python -m benchmarks.rotation --rows 100000

This fills an empty PostgreSQL database and measures only the cryptography on one core. Then it runs
`rotate_secrets` with one process, and with two that each rotate half of the rows, and prints the
ratios.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from io import StringIO
from itertools import cycle
from multiprocessing import get_context
from typing import Any

import psycopg
from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from psycopg import sql
from psycopg.rows import dict_row

from stripe_connections.secrets.keyring import Keyring, secret_context

KEYS = [Fernet.generate_key().decode() for _ in range(3)]
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "config.settings",
    "ENV_FILE": os.devnull,
    "SECRET_KEY": secrets.token_urlsafe(50),
    "JWT_SIGNING_KEY": secrets.token_urlsafe(50),
    "FERNET_KEYS": KEYS[0],
    "DEMO_PEOPLE": "true",
}
TABLE = "stripe_connections_stripeconnection"
SECRETS = ("api_key", "webhook_secret")
SAMPLE = 10_000
MADE = 20_000
BATCH_SIZE = 1_000


def fill(rows: int) -> None:
    """Create the tables and `rows` connections with the first key, in an empty database."""
    import django  # the settings are read from the environment that was just set

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from stripe_connections.models import StripeConnection

    call_command("migrate", verbosity=0)
    if StripeConnection.objects.exists():
        sys.exit("This database already has connections. Use an empty one.")
    made = min(rows, MADE)
    call_command("load_demo", connections=made, stdout=StringIO())
    connection.close()
    multiply(os.environ["DATABASE_URL"], rows // made - 1, os.environ["FERNET_KEYS"])


def multiply(database_url: str, copies: int, key: str, workspaces: Sequence[int] = ()) -> None:
    """Add copies of every connection, because it is faster than creating a million of them.

    Each copy has a different business ID, to which its secrets are bound. `workspaces` are primary
    keys; every second copy goes to the next of them.
    """
    ring = Keyring.of((key,))
    others = cycle(workspaces or [None])
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as database:
        rows = database.execute(f"SELECT * FROM {TABLE} ORDER BY id").fetchall()  # noqa: S608
        names = [name for name in rows[0] if name != "id"]
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(TABLE), columns)
        with database.cursor().copy(command) as copy:
            for row in rows:
                texts = [_crypted(ring.decrypt, row, name) for name in SECRETS]
                for n in range(copies):
                    moved = (next(others) if n % 2 else None) or row["workspace_id"]
                    one = row | {"biz_id": f"{row['biz_id']}x{n}", "workspace_id": moved}
                    one |= dict(zip(SECRETS, texts, strict=True))
                    one |= {name: _crypted(ring.encrypt, one, name) for name in SECRETS}
                    copy.write_row([one[name] for name in names])
    vacuum(database_url)


def _crypted(crypt: Any, row: dict[str, Any], name: str) -> Any:
    """Encrypt or decrypt the column `name` for its row."""
    context = secret_context(row["workspace_id"], row["biz_id"], name)
    return row[name] and crypt(row[name], context)


def vacuum(database_url: str) -> None:
    """Vacuum, like autovacuum long before the next rotation."""
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute("VACUUM ANALYZE")


def cryptography_alone() -> float:
    """Return how many rows with two secrets one core re-encrypts per second."""
    old, new = (HMAC(urlsafe_b64decode(key), SHA256()) for key in KEYS[:2])
    stored = []
    for number in range(SAMPLE):
        for prefix, name in zip(("sk_live", "whsec"), SECRETS, strict=True):
            context = secret_context(1, f"sc_{number:024}", name)
            secret = f"{prefix}_{secrets.token_hex(24)}".encode()
            stored.append((context, _derived(old, context).encrypt(secret)))
    started = time.perf_counter()
    for context, ciphertext in stored:
        MultiFernet([_derived(new, context), _derived(old, context)]).rotate(ciphertext)
    return SAMPLE / (time.perf_counter() - started)


def _derived(key: HMAC, context: bytes) -> Fernet:
    """Return the Fernet for a secret: HKDF-Expand of a key is one HMAC."""
    keyed = key.copy()
    keyed.update(context + b"\1")
    return Fernet(urlsafe_b64encode(keyed.finalize()))


def rotate(keys: list[str], count: int) -> tuple[float, int]:
    """Return the rows per second of all processes, and the peak memory of the largest in MiB."""
    command = ["manage.py", "rotate_secrets", "--apply", "--format", "json"]
    processes = [
        subprocess.Popen(
            [sys.executable, *command, f"--batch-size={BATCH_SIZE}", f"--share={number}/{count}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"FERNET_KEYS": ",".join(keys)},
        )
        for number in range(1, count + 1)
    ]
    summaries, memory = [], 0
    for process in processes:
        summaries.append(json.loads(process.stdout.read() if process.stdout else b""))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        memory = max(memory, usage.ru_maxrss // 1024)
    changed = sum(summary["changed"] for summary in summaries)
    return changed / max(summary["seconds"] for summary in summaries), memory


def measure(rows: int) -> dict[str, Any]:
    """Fill, and rotate with one process and with two; measure the floor before each rotation."""
    # In a separate process, because the peak memory of a child starts with its parent's memory.
    filling = get_context("spawn").Process(target=fill, args=(rows,))
    filling.start()
    filling.join()
    if filling.exitcode:
        sys.exit(1)
    runs = []
    for count in (1, 2):
        vacuum(os.environ["DATABASE_URL"])
        floor = cryptography_alone()
        speed, memory = rotate([KEYS[count], KEYS[count - 1]], count)
        runs.append(
            {
                "processes": count,
                "rowsPerSecond": round(speed),
                "floor": round(floor),
                "ratio": round(speed / floor, 2),
                "memoryMiB": memory,
            }
        )
    return {"rows": rows, "runs": runs}


def main() -> None:
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
            "{processes} process(es): {rowsPerSecond:,} rows/s, {ratio} of only the cryptography "
            "({floor:,} rows/s on one core), {memoryMiB} MiB".format(**run)
        )


if __name__ == "__main__":
    main()
