"""The real server with demo data, in a database of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psycopg

from tests.production import PRODUCTION

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium")
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
STARTUP_SECONDS = 60


class Site:
    """A server with demo data in a database of its own, and the passwords of its people."""

    def __init__(self, database_url: str, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {"PATH": os.environ["PATH"]} | PRODUCTION | environment
        self.environment |= {"DATABASE_URL": database_url, "DEBUG": "true", "ALLOWED_HOSTS": ""}
        self.manage("migrate", "-v0")
        people = json.loads(self.manage("load_demo", "--format", "json"))["users"]
        self.passwords = {person["username"]: person["password"] for person in people}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(self.port)],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def portal(self) -> dict[str, str]:
        """What Nginx would add to a request."""
        return {"X-PORTAL-ACCESS-CODE": self.environment["PORTAL_ACCESS_CODE"]}

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.check_output(command, env=self.environment, cwd=ROOT, text=True)

    def wait(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.05)
        raise TimeoutError

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """The answer to a call through the portal, as JSON."""
        sent = {"Content-Type": "application/json"} | self.portal | headers
        request = Request(self.url + path, json.dumps(body).encode(), sent)
        with urlopen(request, timeout=STARTUP_SECONDS) as answer:
            return json.load(answer)

    def token(self, username: str = "demo-manager") -> str:
        body = {"username": username, "password": self.passwords[username]}
        return str(self.post("/web/v1/auth/token", body)["data"]["accessToken"])


@contextmanager
def running(database_url: str, **environment: str) -> Iterator[Site]:
    """A site that answers, until the end of the block."""
    site = Site(database_url, **environment)
    try:
        site.wait()
        yield site
    finally:
        site.process.terminate()
        site.process.wait()


@contextmanager
def empty_database(directory: Path) -> Iterator[str]:
    """The URL of a new database of the kind that the tests run on."""
    given = os.environ.get("DATABASE_URL", "")
    if not given.startswith("postgres"):
        yield f"sqlite:///{directory}/db.sqlite3"
        return
    name = f"site_{uuid.uuid4().hex}"
    with closing(psycopg.connect(given, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(given)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
