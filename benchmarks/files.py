"""What a row of an import or export costs: CPU of the process, beside a yardstick, and memory.

    python -m benchmarks.files --rows 100000                          # SQLite in a new file
    python -m tests.postgres python -m benchmarks.files --rows 100000 # an empty PostgreSQL

The yardstick reads a CSV file, writes a JSON object, and executes one prepared UPDATE for each row,
without Django. Each case runs in a process of its own, with a tenth of the rows and with all: the
difference of the peaks is the memory that a row takes.
"""

import argparse
import csv
import json
import os
import resource
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.rotation import ENVIRONMENT, TABLE

CASES = ("name", "unchanged", "secrets", "csv", "json", "create")
# CPU milliseconds of a row, and the peak of the memory in bytes.
Figures = tuple[float, int]


def fill(rows: int) -> None:
    """Create the tables, and connections with two secrets in an empty database."""
    from django.core.management import call_command

    from stripe_connections.models import StripeConnection
    from workspaces.models import Tenant, Workspace

    call_command("migrate", verbosity=0)
    tenant = Tenant.objects.create(biz_id="tn_files", name="Files")
    workspaces = [
        Workspace.objects.create(biz_id=f"ws_{n}", tenant=tenant, name="Files") for n in range(100)
    ]
    for start in range(0, rows, 1_000):
        made = [
            StripeConnection(
                biz_id=f"sc_{n}",
                workspace=workspaces[n % 100],
                connection_name=f"Connection {n}",
                partner_endpoint=f"https://partner{n}.example.com/hook",
            )
            for n in range(start, start + 1_000)
        ]
        for connection in made:
            connection.replace_secret("api_key", _api_key())
            connection.replace_secret("webhook_secret", _webhook_secret())
        StripeConnection.objects.bulk_create(made)


def _api_key() -> str:
    return f"sk_test_{secrets.token_hex(24)}"


def _webhook_secret() -> str:
    return f"whsec_{secrets.token_hex(16)}"


def write_file(case: str, path: Path, rows: int) -> None:
    """The file that is imported; that of "unchanged" is an export."""
    word = secrets.token_hex(4)
    columns: dict[str, Callable[[int], str]] = {"workspaceId": lambda n: f"ws_{n % 100}"}
    if case == "create":
        columns["connectionName"] = lambda n: f"New {word} {n}"
        columns["partnerEndpoint"] = lambda n: f"https://partner{n}.example.com/hook"
    else:
        columns["bizId"] = lambda n: f"sc_{n}"
    if case == "name":
        columns["connectionName"] = lambda n: f"Renamed {word} {n}"
    if case in {"secrets", "create"}:
        columns |= {"apiKey": lambda _: _api_key(), "webhookSecret": lambda _: _webhook_secret()}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([value(n) for value in columns.values()] for n in range(rows))


def run(case: str, path: Path, rows: int) -> Figures:
    """Import or export that many rows in this process."""
    from django.core.management import call_command

    from stripe_connections.models import StripeConnection

    started = time.process_time()
    if case in {"csv", "json"}:
        with path.open("w") as out:
            tenths = "" if rows == StripeConnection.objects.count() else "0"
            places = [f"--workspace=ws_{n}" for n in range(100) if str(n).endswith(tenths)]
            options = (f"--format={case}", *places)
            call_command("export_connections", *options, stdout=out)
    else:
        call_command(
            "import_connections", str(path), "--apply", "--verbosity=0",
            stdout=StringIO(), stderr=StringIO(),
        )  # fmt: skip
    cpu = time.process_time() - started
    return cpu * 1_000 / rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


def yardstick(path: Path, rows: int) -> Figures:
    """Read rows, write JSON and update a name, as briefly as possible."""
    from django.db import connection as database

    database.ensure_connection()
    driver = database.connection
    mark = "%s" if database.vendor == "postgresql" else "?"
    sql = f"UPDATE {TABLE} SET connection_name = {mark} WHERE biz_id = {mark}"  # noqa: S608
    started = time.process_time()
    with path.open() as file, closing(driver.cursor()) as cursor:
        cursor.execute("BEGIN")
        for row in csv.DictReader(file):
            json.dumps({"connection_name": [row["bizId"], row["connectionName"]]})
            cursor.execute(sql, (row["connectionName"], row["bizId"]))
        cursor.execute("COMMIT")
    return (time.process_time() - started) * 1_000 / rows, 0


def isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a new process, whose peak is its own."""
    with get_context("spawn").Pool(1, initializer=_set_up) as pool:
        return pool.apply(function, arguments)


def _set_up() -> None:
    import django

    django.setup()


def measure(rows: int, cases: list[str], directory: Path) -> None:
    """Fill, measure each case, and print a line for it."""
    isolated(fill, rows)
    print(f"{'case':12}{'CPU ms':>8}{'× yardstick':>13}{'peak MiB':>10}{'bytes a row':>13}")
    path = directory / "file"
    for case in cases:
        isolated(write_file, "name", path, rows)
        floor, _ = isolated(yardstick, path, rows)
        results = []
        for count in (rows // 10, rows):
            if case == "unchanged":
                isolated(run, "csv", path, count)
            else:
                isolated(write_file, case, path, count)
            results.append(isolated(run, case, path, count))
        (_, least), (cpu, peak) = results
        growth = (peak - least) / (rows - rows // 10)
        print(f"{case:12}{cpu:8.3f}{cpu / floor:13.1f}{peak / 2**20:10.0f}{growth:13.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="a multiple of 10,000")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="files-") as directory:
        url = os.environ.get("DATABASE_URL", "")
        if not url.startswith("postgres"):
            url = f"sqlite:///{directory}/db.sqlite3"
        os.environ.update(ENVIRONMENT | {"DATABASE_URL": url})
        measure(options.rows, options.cases, Path(directory))


if __name__ == "__main__":
    main()
