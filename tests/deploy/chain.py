"""The production chain in separate processes: PostgreSQL, PgBouncer, the service, Nginx."""

import atexit
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import psycopg

from tests.postgres import get_server
from tests.production import PRODUCTION
from tests.service import (
    DAY_SECONDS,
    PATIENCE_SECONDS,
    ROOT,
    UPDATE,
    Process,
    Service,
    free_port,
    wait_for,
)

HOST = "connections.example.com"
CODE = PRODUCTION["PORTAL_ACCESS_CODE"]
# For requests that bypass Nginx.
PORTAL = {"X-PORTAL-ACCESS-CODE": CODE}


class Answer:
    """A response: its status, headers with lower-case names, and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Nginx(Process):
    """Nginx with the shipped template, rendered like in docs/deployment.md."""

    def __init__(self, service_port: int, directory: Path, port: int = 0, **variables: str) -> None:
        directory.mkdir()
        self.directory, self.internal_port = directory, free_port()
        port = port or free_port()
        self.access_log = directory / "access.log"
        variables = {
            "PUBLIC_LISTEN": f"127.0.0.1:{port}",
            "INTERNAL_LISTEN": f"127.0.0.1:{self.internal_port}",
            "SERVICE": f"127.0.0.1:{service_port}",
            "PORTAL_ACCESS_CODE": CODE,
            "GATEWAY": "unix:",
            "CLIENT_RATE": "10000r/s",
            "CORS_ALLOWED_ORIGINS": "",
            "ACCESS_LOG": str(self.access_log),
        } | variables
        (directory / "nginx.env").write_text("".join(f"{k}='{v}'\n" for k, v in variables.items()))
        (directory / "nginx.conf").write_text(NGINX_CONF.format(directory=directory))
        subprocess.check_call([ROOT / "deploy/render.sh", directory / "nginx.env", directory])
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", "nginx.conf"]
        environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
        super().__init__(command, port, directory / "error.log", environment)


# A minimal nginx.conf that includes the rendered file and keeps all files in one directory.
NGINX_CONF = """
daemon off; master_process off; worker_processes 1;
pid {directory}/pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    include {directory}/connections*.conf;
}}
"""


class Database:
    """A PostgreSQL server that can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = get_server(directory / "data", cleanup_mode="stop")
        self.url = self.server.get_uri()
        self.execute("ALTER SYSTEM SET max_connections = 200")
        self.execute("ALTER SYSTEM SET synchronous_commit = off")
        self.stop()
        self.start()

    def start(self) -> None:
        self.server.ensure_postgres_running()

    def stop(self) -> None:
        self.server.stop()

    def close(self) -> None:
        self.server.cleanup()
        # Otherwise it would clean up again at exit, and log to a closed stream.
        atexit.unregister(self.server._cleanup)

    def execute(self, sql: str, url: str = "") -> Any:
        """Run `sql` and return all rows, or None if it returns no rows."""
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def new(self) -> str:
        """Create an empty database and return its URL."""
        name = f"chain_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def socket_directory(self) -> str:
        return parse_qs(urlsplit(self.url).query)["host"][0]


_numbers = count(1)


class Chain:
    """A service behind Nginx, with a new database or with the one and the token of `other`."""

    def __init__(
        self, database: Database, directory: Path, other: "Chain | None" = None, **options: Any
    ) -> None:
        self.database, self.directory = database, directory
        self.database_url = other.database_url if other else database.new()
        self.service = Service(self.database_url, directory, **options)
        origins = {"CORS_ALLOWED_ORIGINS": options.get("CORS_ALLOWED_ORIGINS", "")}
        self.nginx = Nginx(self.service.port, directory / "nginx", **origins)
        if other:
            self.connections, self.token = other.connections, other.token
        else:
            self.load_demo()

    def load_demo(self) -> None:
        """Create connections and a user, and log in."""
        demo = json.loads(self.service.manage("load_demo", "--format=json", "--connections=50"))
        self.connections: list[str] = demo["workspaces"][0]["connectionBizIds"]
        user = demo["users"][0]
        login = {"username": user["username"], "password": user["password"]}
        answer = self.ask(login, path="/web/v1/auth/token", token="")
        self.token = valid_for_a_day(answer.json["data"]["accessToken"])

    def close(self) -> None:
        for process in (self.nginx, self.service):
            if process.process.poll() is None:
                process.stop()

    def ask(self, body: Any, **kwargs: Any) -> Answer:
        """Send a request over a new connection and return the response."""
        with closing(self.connect(kwargs.pop("port", None))) as connection:
            return self.send(connection, body, **kwargs)

    def recover(self, port: int | None = None) -> None:
        """Wait until no worker uses a lost database session.

        Each request uses a new connection, so the requests reach both workers.
        """
        port = port or self.service.port
        wait_for(
            lambda: all(self.rename("After", port=port, **PORTAL).status == 200 for _ in range(80)),
            "The recovery",
        )

    def connect(self, port: int | None = None) -> http.client.HTTPConnection:
        port = port or self.nginx.port
        return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)

    def send(
        self,
        connection: http.client.HTTPConnection,
        body: Any,
        *,
        path: str = UPDATE,
        token: str | None = None,
        method: str = "POST",
        **headers: str,
    ) -> Answer:
        sent = {"Host": HOST, "Content-Type": "application/json"}
        sent["Authorization"] = f"Bearer {self.token if token is None else token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, json.dumps(body), sent)
        return Answer(connection.getresponse())

    def rename(self, name: str, connection: str = "sc_abc123", **kwargs: Any) -> Answer:
        return self.ask({"connectionBizId": connection, "connectionName": name}, **kwargs)

    def raw(self, request: bytes) -> bytes:
        """Send any bytes to Nginx and return what it sends until it closes the connection."""
        address = "127.0.0.1", self.nginx.port
        with closing(socket.create_connection(address, PATIENCE_SECONDS)) as client:
            client.sendall(request)
            with suppress(ConnectionResetError):
                return b"".join(iter(lambda: client.recv(65536), b""))
        return b""

    def rows(self, sql: str) -> Any:
        return self.database.execute(sql, self.database_url)

    def name_of(self, connection: str = "sc_abc123") -> str:
        sql = "SELECT connection_name FROM stripe_connections_stripeconnection WHERE biz_id = '{}'"
        return str(self.rows(sql.format(connection))[0][0])

    def audited_names(self, run: str) -> Counter[str]:
        """Count the audit records for each new name that starts with `run`."""
        sql = (
            "SELECT changes->'connection_name'->>1 FROM auditlog_logentry WHERE action = 1 "
            f"AND changes->'connection_name'->>1 LIKE '{run}%'"
        )
        return Counter(name for (name,) in self.rows(sql))

    @contextmanager
    def held(self, connection: str = "sc_abc123") -> Iterator[None]:
        """Lock the row of a connection in another session."""
        with psycopg.connect(self.database_url) as other:
            other.execute(
                "SELECT 1 FROM stripe_connections_stripeconnection WHERE biz_id = %s FOR UPDATE",
                [connection],
            )
            yield
            other.rollback()

    @contextmanager
    def load(
        self, callers: int, port: int | None = None, rows: list[str] | None = None, first: int = 0
    ) -> Iterator["Load"]:
        """Update connections in this many threads until the block ends.

        Loads at the same time need different callers; `first` is the number of the first one.
        """
        load = Load(self, port, rows)
        with ThreadPoolExecutor(callers) as pool:
            tasks = [pool.submit(load.run, first + number) for number in range(callers)]
            try:
                yield load
            finally:
                load.ended.set()
        for task in tasks:
            task.result()


class Load:
    """Callers that update without a pause, and the responses they got."""

    def __init__(self, chain: Chain, port: int | None, rows: list[str] | None) -> None:
        self.chain, self.port, self.rows = chain, port, rows
        self.run_name = f"Run {next(_numbers)}:"
        self.ended = Event()
        # Acknowledged updates as connection and name, other responses, and errors.
        self.acknowledged: list[tuple[str, str]] = []
        self.refused: list[Answer] = []
        self.errors: Counter[str] = Counter()

    def run(self, caller: int) -> None:
        """Update rows that no other caller updates, so that the last name of each is known."""
        own = self.rows or self.chain.connections[1 + caller :: 16]
        connection = self.chain.connect(self.port)
        for number in count():
            if self.ended.is_set():
                break
            biz_id, name = own[number % len(own)], f"{self.run_name} {caller}, {number}"
            body = {"connectionBizId": biz_id, "connectionName": name}
            headers = {} if self.port is None else PORTAL
            try:
                answer = self.chain.send(connection, body, **headers)
            except ConnectionRefusedError:
                # Nothing was sent.
                self.errors["refused"] += 1
                time.sleep(0.02)
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.errors[type(error).__name__] += 1
                connection.close()
            else:
                if answer.status == 200:
                    self.acknowledged.append((biz_id, name))
                else:
                    self.refused.append(answer)
                    time.sleep(0.02)
        connection.close()

    def reach(self, total: int) -> None:
        """Wait until `total` updates were acknowledged."""
        wait_for(lambda: len(self.acknowledged) >= total, f"{total} updates")

    def assert_nothing_was_lost(self) -> None:
        """Check that each acknowledged update has one audit record, and that rows have the last."""
        audited = self.chain.audited_names(self.run_name)
        names = [name for _, name in self.acknowledged]
        assert {name: audited[name] for name in names} == dict.fromkeys(names, 1)
        last = dict(self.acknowledged)
        assert {biz_id: self.chain.name_of(biz_id) for biz_id in last} == last

    def assert_all_was_answered(self) -> None:
        """Check that every recorded update was acknowledged."""
        audited = self.chain.audited_names(self.run_name)
        assert audited == Counter(name for _, name in self.acknowledged)


def valid_for_a_day(token: str) -> str:
    """The same token with a later expiry: the tests together may take more than 15 minutes."""
    claims = jwt.decode(token, options={"verify_signature": False})
    claims["exp"] += DAY_SECONDS
    return jwt.encode(claims, PRODUCTION["JWT_SIGNING_KEY"])


def version_of(program: str) -> tuple[int, ...]:
    said = subprocess.check_output([program, "--version"], text=True)
    return tuple(int(part) for part in re.search(r"(\d+)\.(\d+)", said).groups())


def installed(program: str) -> str | None:
    """Return the path of a program; Debian installs servers in /usr/sbin."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
