"""The server process, started by the command `serve`: `python -m config.server --help`."""

import logging
import os
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

from granian import Granian
from granian.constants import HTTPModes, Interfaces

THREADS = 8


def main() -> None:
    """Serve until a signal is received."""
    parser = ArgumentParser(prog="python -m config.server")
    parser.add_argument("application", nargs="?", default="config.wsgi:application")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--metrics", action="store_true", help="sum the metrics over the workers")
    options = parser.parse_args()
    # HTTP/2 would allow bodies without a length, and headers of up to 16 MB. Without the kill
    # time-out, a client that never ends its body would prevent the server from stopping; 12 seconds
    # are enough for a request that waits for a database connection and then for a lock.
    server = Granian(
        options.application,
        address=options.host,
        port=options.port,
        workers=options.workers,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        blocking_threads=THREADS,
        respawn_failed_workers=True,
        workers_kill_timeout=12,
    )
    # Granian warns of more threads than processors, but these mostly wait for the database.
    logging.getLogger("_granian").addFilter(lambda record: f"{THREADS} Python" not in record.msg)
    with TemporaryDirectory(prefix="metrics-") as directory:
        if options.metrics:
            _collect_metrics_in(Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or directory))
        server.serve()


def _collect_metrics_in(directory: Path) -> None:
    for file in directory.glob("*.db"):
        file.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


if __name__ == "__main__":
    main()
