"""Kill workers of the server under load, and count the acknowledged updates that were lost.

    nice python -m benchmarks.kills

The server has two workers and a PostgreSQL database with durable settings. While clients update
connections, one of the started workers is killed with SIGKILL, again and again. At the end, each
update that was answered with 200 must be in its connection and exactly once in the audit.

If a worker dies within 5.5 seconds after Granian has replaced one, Granian stops the whole server.
Therefore the script waits at least six seconds after each kill, and for the new worker to start.
"""

import argparse
import http.client
import json
import secrets
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import psutil

from benchmarks.servers import PATH, Bench
from tests.production import PRODUCTION

PAUSE_SECONDS = 6
TIMEOUT_SECONDS = 30
OTHER_NAME = "200 with another name"
Body = dict[str, str]
RECORDS = """
SELECT cid, object_repr, changes->'connection_name'->>1, (additional_data->>'version')::bigint
FROM auditlog_logentry WHERE cid LIKE '{}-%' AND action = 1 ORDER BY id
"""
ROWS = "SELECT biz_id, connection_name, version FROM stripe_connections_stripeconnection"


class Load:
    """Clients that update connections, and the answer to each update.

    Each update has a unique mark, which is its request ID and the new name. Each client has its own
    connections, and sends at most `rate` updates per second.
    """

    def __init__(
        self,
        bench: Bench,
        server: str,
        rows: list[str],
        *,
        clients: int,
        rate: float = float("inf"),
        more: Callable[[int], Body] = lambda _: {},
    ) -> None:
        self.bench, self.server, self.rate, self.more = bench, server, rate, more
        self.run = f"load{secrets.token_hex(4)}"
        self.ended, self._lock = Event(), Lock()
        # By mark: the connection, and the status or the name of the error.
        self.rows: dict[str, str] = {}
        self.answers: dict[str, str] = {}
        self.longest_gap = self.longest_wait = 0.0
        self._answered_at = float("inf")
        shares = [rows[number::clients] for number in range(clients)]
        self.before = {row: version for row, _, version in bench.sql(ROWS) if row in rows}
        self.threads = [
            Thread(target=self._drive, args=(number, share)) for number, share in enumerate(shares)
        ]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the answers, and for statements that PostgreSQL executes for killed workers."""
        self.ended.set()
        for thread in self.threads:
            thread.join()
        time.sleep(2)

    def acknowledged(self) -> int:
        return sum(answer == "200" for answer in list(self.answers.values()))

    def _drive(self, client: int, rows: list[str]) -> None:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.bench.ports[self.server], timeout=TIMEOUT_SECONDS
        )
        answered_at, started_at = float("inf"), time.monotonic()
        for number in count():
            # Do not send faster after a pause of the server.
            started_at = max(started_at + 1 / self.rate, time.monotonic() - 1)
            if self.ended.wait(max(0, started_at - time.monotonic())):
                break
            row, mark = rows[number % len(rows)], f"{self.run}-{client}-{number}"
            self.rows[mark] = row
            body = {"connectionBizId": row, "connectionName": mark} | self.more(number)
            self.answers[mark] = answer = self._send(connection, mark, body)
            if answer == "200":
                now = time.monotonic()
                self.longest_wait = max(self.longest_wait, now - answered_at)
                answered_at = now
                with self._lock:
                    self.longest_gap = max(self.longest_gap, now - self._answered_at)
                    self._answered_at = now
            else:
                time.sleep(0.02)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, mark: str, body: Body) -> str:
        """Return the status, or the name of the error."""
        headers = {
            "Authorization": f"Bearer {self._token()}",
            "X-PORTAL-ACCESS-CODE": PRODUCTION["PORTAL_ACCESS_CODE"],
            "X-Request-Id": mark,
            "Content-Type": "application/json",
        }
        try:
            connection.request("POST", PATH, json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__
        if response.status == 200 and mark not in answer.decode():
            return OTHER_NAME
        return str(response.status)

    def _token(self) -> str:
        """Return a token; the old one if the server cannot issue one."""
        with self._lock:
            with suppress(OSError, http.client.HTTPException, KeyError, ValueError):
                return self.bench.log_in()
            return self.bench.token

    def result(self) -> dict[str, Any]:
        """Count the updates; `lost` and `wrong_rows` must be 0."""
        records = self.bench.sql(RECORDS.format(self.run))
        audited = Counter(mark for mark, *_ in records if mark in self.rows)
        marks = [mark for mark, answer in self.answers.items() if answer == "200"]
        others = Counter(answer for answer in self.answers.values() if answer != "200")
        unacknowledged = [mark for mark in self.rows if self.answers.get(mark) != "200"]
        return {
            "sent": len(self.rows),
            "acknowledged": len(marks),
            "acknowledged_once_in_audit": sum(audited[mark] == 1 for mark in marks),
            "lost": sum(audited[mark] != 1 for mark in marks),
            "wrong_rows": self._wrong_rows(records),
            "unacknowledged_written": sum(audited[mark] == 1 for mark in unacknowledged),
            "unacknowledged_not_written": sum(not audited[mark] for mark in unacknowledged),
            "written_twice": sum(number > 1 for number in audited.values()),
            "other_answers": dict(others),
            "longest_gap_s": round(self.longest_gap, 2),
            "longest_wait_of_a_client_s": round(self.longest_wait, 2),
        }

    def _wrong_rows(self, records: list[Any]) -> int:
        """Count faults: versions without exactly one record, and names other than the last."""
        history = defaultdict(list)
        for mark, row, name, version in records:
            history[row].append((version, name if self.rows.get(mark) == row else "another run"))
        wrong = 0
        for row, name, version in self.bench.sql(ROWS):
            if row not in self.before:
                continue
            written = sorted(history[row])
            before = self.before[row]
            wrong += [number for number, _ in written] != list(range(before + 1, version + 1))
            wrong += bool(written) and written[-1][1] != name
        return wrong


def workers(bench: Bench, server: str) -> list[psutil.Process]:
    """Return the worker processes of a server."""
    children = bench.processes[server].children()
    return [p for p in children if "resource_tracker" not in str(p.cmdline())]


def has_started(bench: Bench, server: str, starts: int) -> bool:
    """Whether the server has started a worker this number of times."""
    log = (bench.directory / f"{server}.log").read_bytes()
    return log.count(b"Started worker-") >= starts


def kill_one(bench: Bench, server: str, starts: int) -> bool:
    """Wait until all workers have started, and kill one; return False if the server has ended."""
    time.sleep(PAUSE_SECONDS + secrets.randbelow(1_000) / 1_000)
    while not has_started(bench, server, starts):
        if bench.processes[server].poll() is not None:
            return False
        time.sleep(0.05)
    secrets.choice(workers(bench, server)).kill()
    return True


def main() -> int:
    """Kill, count and print; return 1 if an acknowledged update was lost."""
    parser = argparse.ArgumentParser(prog="benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument(
        "--rate", type=float, default=float("inf"), help="updates of each client per second"
    )
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Bench(Path(directory, "kills")) as bench,
    ):
        bench.prepare(10 * options.clients, workers=2)
        load = Load(bench, "product", bench.rows, clients=options.clients, rate=options.rate)
        kills = 0
        while kills < options.kills and kill_one(bench, "product", starts=2 + kills):
            kills += 1
            print(f"{kills} killed, {load.acknowledged()} acknowledged", file=sys.stderr)
        time.sleep(PAUSE_SECONDS)
        load.stop()
        result = {"kills": kills} | load.result()
    print(json.dumps(result, indent=2))
    is_wrong = result["lost"] or result["wrong_rows"] or OTHER_NAME in result["other_answers"]
    return 1 if is_wrong or kills < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
