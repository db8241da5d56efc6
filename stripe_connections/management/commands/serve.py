"""Run the production server on this machine."""

import os
import signal
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from stripe_connections.management.commands.load_demo import password_of
from workspaces.tokens import issues_tokens

MAX_PORT = 65_535
# An arbitrary number, the same in every process.
MIGRATION_LOCK = 7_351_900
# Addresses that mean every address of this machine, and one of them that a client can call.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
CURL = """
TOKEN=$(curl -s {url}/web/v1/auth/token{portal} -H 'Content-Type: application/json' \\
  -d '{{"username": "demo-manager", "password": "{password}"}}' \\
  | sed 's/.*"accessToken":"\\([^"]*\\)".*/\\1/')
curl -i {url}/web/v1/workspaces/ws_demo/stripe/connections/update{portal} \\
  -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -d '{{"connectionBizId": "sc_abc123", "connectionName": "Updated Stripe Connection"}}'
"""


class Command(BaseCommand):
    """Migrate, load the demo data if asked to, and become the server."""

    help = "Serve with Granian. Example: serve --demo --port 9000"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", default="8000")
        parser.add_argument("--workers", type=int, default=1)
        parser.add_argument(
            "--demo", action="store_true", help="load demo data and say how to try the service"
        )

    def handle(self, **options: Any) -> None:
        """Check what the server needs, and replace this process with it."""
        if options["demo"] and not settings.DEBUG:
            raise CommandError("The passwords of the demo users are printed: --demo needs DEBUG.")
        # The first process of a container ignores the signal unless something handles it.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        host, port = options["host"], _port(options["port"])
        _check_proxy(host)
        _check_port(host, port)
        try:
            connection.ensure_connection()
            with alone():
                call_command("migrate", verbosity=0)
        except DatabaseError as error:
            raise CommandError(
                f"The database ({connection.vendor}) is unavailable: {_first_line(error)}"
            ) from None
        self.check(databases=[connection.alias])
        if options["demo"]:
            self._introduce(host, port)
        connection.close()
        if settings.DEBUG and not settings.ALLOWED_HOSTS:
            os.environ["ALLOWED_HOSTS"] = names_of(host)
        sys.stdout.flush()
        command = [sys.executable, "-m", "config.server", "--host", host, "--port", str(port)]
        command += ["--workers", str(options["workers"])]
        command += ["--metrics"] if settings.METRICS_TOKEN else []
        os.execv(sys.executable, command)

    def _introduce(self, host: str, port: int) -> None:
        url = url_of(host, port)
        self.stdout.write(f"Admin: {url}/admin/\nAPI: {url}/docs/\n\nDemo users:")
        call_command("load_demo", stdout=self.stdout)
        if not issues_tokens():
            self.stdout.write("\nYour identity provider issues the tokens.\n")
            return
        header = ' -H "X-PORTAL-ACCESS-CODE: $PORTAL_ACCESS_CODE"'
        portal = header if settings.PORTAL_ACCESS_CODE else ""
        self.stdout.write("\nPaste this into another terminal:")
        password = password_of("demo-manager")
        self.stdout.write(CURL.format(url=url, password=password, portal=portal))


@contextmanager
def alone() -> Iterator[None]:
    """Hold a lock, so that of several processes that start, one at a time migrates PostgreSQL.

    The lock belongs to a transaction on a separate connection: behind PgBouncer, a lock of a
    session would pass to the next client of that session.
    """
    if connection.vendor != "postgresql":
        yield
        return
    guard = connection.copy()
    guard.set_autocommit(False)
    try:
        with guard.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        yield
    finally:
        guard.close()


def url_of(host: str, port: int) -> str:
    """The URL of a server that listens on `host`, which clients cannot call if it is a wildcard."""
    return f"http://{_in_url(WILDCARDS.get(host, host))}:{port}"


def names_of(host: str) -> str:
    """ALLOWED_HOSTS for a server that listens on `host`; Django's default is only local names."""
    return "*" if host in WILDCARDS else f".localhost,127.0.0.1,[::1],{_in_url(host)}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MAX_PORT):
        raise CommandError(f"A port is a number from 1 to {MAX_PORT}.")
    return int(text)


def _check_proxy(host: str) -> None:
    """Raise a CommandError if clients would reach the server without a proxy."""
    is_local = host.startswith("127.") or host in {"localhost", "::1"}
    if not (is_local or settings.DEBUG or settings.REST_FRAMEWORK["NUM_PROXIES"]):
        raise CommandError(
            f"Refusing to listen on {host} without a proxy: the server sets no time limit for a "
            "request's body, so a few slow clients could keep everybody else waiting. Put Nginx "
            "in front and set NUM_PROXIES, or listen on 127.0.0.1."
        )


def _check_port(host: str, port: int) -> None:
    """Raise a CommandError if the address cannot be used; the server's message is long."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, UnicodeError) as error:
        raise CommandError(
            f"Cannot listen on {host} port {port}: {error}. Choose another port: "
            "`make run PORT=8001`, or `--port 8001`."
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
