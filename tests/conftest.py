"""Shared fixtures and helpers: users, workspaces, a connection, API clients and servers."""

import gc
import io
import json
import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.db import InternalError, connections, transaction
from django.db import connection as database
from django.test import Client
from psycopg.errors import ReadOnlySqlTransaction

from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply
from tests.browser import browser  # noqa: F401 - fixture
from tests.fake_stripe import fake_stripe, serving, stripe  # noqa: F401 - fixtures
from tests.flush import flush_without_triggers
from tests.openapi import check_every_answer
from tests.service import Demo
from workspaces import throttles
from workspaces.models import Membership, Role, Tenant, Workspace
from workspaces.tokens import RefreshToken

flush_without_triggers()
check_every_answer()

# A test that uses none of these fixtures does not depend on the database.
DATABASE_FIXTURES = {"db", "transactional_db"}
# Servers on SQLite that start once. All tests that use one of them run in the same pytest process,
# and none may stop the server. tests/deploy/ tests the production chain on PostgreSQL.
SERVERS = {"demo_server", "strict_server"}
# Calls per day that `strict_server` allows each user.
LIMIT = 60
START_OF_A_DAY = 20_000 * 86_400


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Keep the garbage collector from thousands of tests, which stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Leave out the tests for the other database, and group the tests of each server.

    The suite runs once on each database. Tests that need no database run only with SQLite.
    """
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        for server in SERVERS.intersection(getattr(item, "fixturenames", [])):
            item.add_marker(pytest.mark.xdist_group(server))
            item.add_marker(pytest.mark.slow)
        (kept if vendor_of(item) == database.vendor else left_out).append(item)
    # Thousands of skipped tests would take seconds.
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
    yield
    if hasattr(config, "workerinput"):
        # The tests of a server take long, so they start first.
        items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute the tests of a server as one, and then whole files.

    To distribute single tests takes more time than most of them.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class Scheduler(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return super()._split_scope(nodeid).partition("::")[0]

    config.option.loadscopereorder = False
    return Scheduler(config, log)


def vendor_of(item: pytest.Item) -> str:
    """Return the database that the test is to run on: this one, or the only one."""
    only_on = item.get_closest_marker("only_on")
    if only_on:
        return str(only_on.args[0])
    return database.vendor if needs_database(item) else "sqlite"


def needs_database(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", [])
    return not DATABASE_FIXTURES.isdisjoint(names) or bool(item.get_closest_marker("django_db"))


def random_api_key(prefix: str = "sk_live_") -> str:
    return prefix + secrets.token_hex(24)


def random_webhook_secret() -> str:
    return "whsec_" + secrets.token_hex(16)


def plain(connection: StripeConnection, name: str) -> str | None:
    """Decrypt the secret `name` of the connection; None if it is empty."""
    secret = getattr(connection, name)
    return secret and secret.reveal(connection)


def plain_secrets(connection: StripeConnection) -> tuple[str | None, str | None]:
    return plain(connection, "api_key"), plain(connection, "webhook_secret")


def outcome_of(connection: StripeConnection) -> Reply:
    """Read the stored result of the last verification."""
    return StripeConnection.objects.get(pk=connection.pk).outcome


def known_of(connection: StripeConnection) -> tuple[str, str | None]:
    found = outcome_of(connection)
    return found.verification, found.account_id


def access_token(user: User) -> str:
    return str(RefreshToken.for_user(user).access_token)


# Every call on connections: method, path below the list, and body.
CALLS: dict[str, tuple[str, str, dict[str, str] | None]] = {
    "list": ("GET", "", None),
    "detail": ("GET", "/{biz_id}", None),
    "history": ("GET", "/{biz_id}/history", None),
    "create": ("POST", "/create", {"connectionName": "Created"}),
    "status": ("POST", "/status", {"connectionBizId": "{biz_id}", "status": "INACTIVE"}),
    "verify": ("POST", "/verify", {"connectionBizId": "{biz_id}"}),
    "restore": ("POST", "/restore", {"connectionBizId": "{biz_id}", "field": "apiKey"}),
    "update": ("POST", "/update", {"connectionBizId": "{biz_id}", "connectionName": "Updated"}),
}


def read_only(text: str) -> InternalError:
    """The error for a write to a primary that was demoted."""
    error = InternalError(text)
    error.__cause__ = ReadOnlySqlTransaction(text)
    return error


class ApiClient(Client):
    """Django's test client with a bearer token."""

    def __init__(self, user: User | None = None, **kwargs: Any) -> None:
        super().__init__(raise_request_exception=False, **kwargs)
        if user:
            self.defaults["HTTP_AUTHORIZATION"] = f"Bearer {access_token(user)}"

    def update(
        self, body: Any, workspace_id: str = "ws_demo", **kwargs: Any
    ) -> Any:  # the response, with .json()
        """Call update. A `body` that is not bytes is sent as JSON."""
        kwargs.setdefault("content_type", "application/json")
        return self.post(update_path(workspace_id), body, **kwargs)

    def call(self, call: str, biz_id: str = "sc_abc123", workspace_id: str = "ws_demo") -> Any:
        """Make one of the CALLS for the connection `biz_id`."""
        method, path, body = CALLS[call]
        sent = json.dumps({n: v.format(biz_id=biz_id) for n, v in body.items()}) if body else ""
        path = connections_path(workspace_id) + path.format(biz_id=biz_id)
        return self.generic(method, path, sent, "application/json")

    def read(self, path: str = "", query: Any = None, workspace_id: str = "ws_demo") -> Any:
        """GET the list, or `path` below it."""
        return self.get(f"{connections_path(workspace_id)}{path}", query)


def errors_of(response: Any) -> tuple[int, list[tuple[str | None, str]]]:
    """Return the status, and the field and code of each error."""
    errors = response.json().get("errors", [])
    return response.status_code, [(error["field"], error["code"]) for error in errors]


@contextmanager
def written_log() -> Iterator[io.StringIO]:
    """Capture the formatted output of the configured console handler."""
    [handler] = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    previous = handler.setStream(io.StringIO())
    try:
        yield handler.stream
    finally:
        handler.setStream(previous)


def log_lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def connections_path(workspace_id: str = "ws_demo") -> str:
    return f"/web/v1/workspaces/{workspace_id}/stripe/connections"


def update_path(workspace_id: str = "ws_demo") -> str:
    return f"{connections_path(workspace_id)}/update"


def set_columns(connection: StripeConnection, **columns: Any) -> None:
    """Write columns with plain SQL, like a bad restore: without services and validation."""
    names = ", ".join(f"{name} = %s" for name in columns)
    with database.cursor() as cursor:
        cursor.execute(
            f"UPDATE stripe_connections_stripeconnection SET {names} WHERE id = %s",
            [*columns.values(), connection.pk],
        )


@pytest.fixture
def database_file(transactional_db, tmp_path):
    """On SQLite, use a copy of the empty database in a file, so that threads can share it."""
    if database.vendor != "sqlite":
        yield
        return
    database.ensure_connection()
    memory, name = database.connection, database.settings_dict["NAME"]
    path = tmp_path / "db.sqlite3"
    with sqlite3.connect(path) as file:
        memory.backup(file)
    file.close()
    # Other threads open their database connections with the same dictionary.
    database.connection, database.settings_dict["NAME"] = None, str(path)
    yield
    database.close()
    database.connection, database.settings_dict["NAME"] = memory, name


@pytest.fixture
def other_session(database_file: None) -> Iterator[Any]:
    """Another database session."""
    other = connections.create_connection("default")
    yield other
    other.rollback()
    other.close()


@pytest.fixture(scope="module")
def outer_transaction(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A transaction around all tests of a module; each test also has its own."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A server with one worker, metrics, and no rate limits."""
    directory = tmp_path_factory.mktemp("service")
    started = Demo(directory, introduces=True, METRICS_TOKEN=secrets.token_urlsafe(50))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A server with two workers, a limit for each user, metrics, and verification with Stripe."""
    directory = tmp_path_factory.mktemp("strict")
    metrics = directory / "metrics"
    metrics.mkdir()
    # Left behind by an earlier server.
    (metrics / "counter_1.db").write_bytes(b"left over")
    with serving() as fake:
        started = Demo(
            directory,
            workers=2,
            METRICS_TOKEN=secrets.token_urlsafe(50),
            PROMETHEUS_MULTIPROC_DIR=str(metrics),
            STRIPE_API_BASE=fake.url,
            STRIPE_VERIFY="true",
            THROTTLE_USER=f"{LIMIT}/day",
        )
        yield started
        started.stop()


@pytest.fixture
def ten_minutes_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return a function that makes the next deletion of a module due."""

    def forward(module: Any) -> None:
        monkeypatch.setattr(module.expired_rows, "due_at", 0)

    return forward


@pytest.fixture(autouse=True)
def _reset_rate_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has called yet, and a window of every rate begins and does not end.

    The counter lives in the process, so one test's calls would count against the next test.
    """
    throttles.counter.clear()
    monkeypatch.setattr(throttles, "time", lambda: START_OF_A_DAY + 0.5)


def create_user(
    username: str, workspace: Workspace | None = None, role: str = "manager", **fields: Any
) -> User:
    user = User.objects.create_user(username, password=f"password of {username}", **fields)
    if workspace:
        Membership.objects.create(user=user, workspace=workspace, role=role)
    return user


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    return create_user


@pytest.fixture
def tenant(db: None) -> Tenant:
    return Tenant.objects.create(biz_id="tn_xyz789", name="Example Ltd")


@pytest.fixture
def workspace(tenant: Tenant) -> Workspace:
    return Workspace.objects.create(biz_id="ws_demo", tenant=tenant, name="Demo")


@pytest.fixture
def sibling_workspace(tenant: Tenant) -> Workspace:
    """Another workspace of the same tenant."""
    return Workspace.objects.create(biz_id="ws_sibling", tenant=tenant, name="Sibling")


@pytest.fixture
def other_workspace(db: None) -> Workspace:
    """A workspace of another tenant."""
    tenant = Tenant.objects.create(biz_id="tn_other", name="Somebody Else Ltd")
    return Workspace.objects.create(biz_id="ws_other", tenant=tenant, name="Other")


def create_connection(
    workspace: Workspace, biz_id: str | None = None, **values: Any
) -> StripeConnection:
    connection = StripeConnection(
        workspace=workspace,
        **{
            "connection_name": "Stripe Connection",
            "connection_description": "As it was",
            "stripe_account_id": "acct_1234567890",
            "partner_endpoint": "https://partner.example.com/webhook",
        }
        | values,
    )
    if biz_id:
        connection.biz_id = biz_id
    connection.replace_secret("api_key", random_api_key())
    connection.replace_secret("webhook_secret", random_webhook_secret())
    connection.save()
    return StripeConnection.objects.get(pk=connection.pk)


@pytest.fixture
def make_connection(db: None) -> Callable[..., StripeConnection]:
    return create_connection


@pytest.fixture
def connection(workspace: Workspace, make_connection: Any) -> StripeConnection:
    """The connection from the documentation, with deferred secrets."""
    created: StripeConnection = make_connection(workspace, "sc_abc123")
    return created


@pytest.fixture
def manager(workspace: Workspace, make_user: Any) -> ApiClient:
    return ApiClient(make_user("manager", workspace, Role.MANAGER))


@pytest.fixture
def viewer(workspace: Workspace, make_user: Any) -> ApiClient:
    return ApiClient(make_user("viewer", workspace, Role.VIEWER))


@pytest.fixture
def outsider(other_workspace: Workspace, make_user: Any) -> ApiClient:
    return ApiClient(make_user("outsider", other_workspace, Role.MANAGER))


@pytest.fixture
def stored() -> Callable[[StripeConnection], dict[str, Any]]:
    """Return a function that reads every column of a connection, secrets as ciphertext."""

    def read(connection: StripeConnection) -> dict[str, Any]:
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT * FROM stripe_connections_stripeconnection WHERE id = %s", [connection.pk]
            )
            row = cursor.fetchone()
            return {
                column[0]: bytes(value) if isinstance(value, memoryview) else value
                for column, value in zip(cursor.description, row, strict=True)
            }

    return read


@pytest.fixture
def assert_refused(connection: StripeConnection, stored: Any) -> Callable[..., dict[str, Any]]:
    """Return a function that checks an error response, and that nothing was written.

    It returns the response's body.
    """
    before = stored(connection)

    def check(response: Any, status: int, code: str) -> dict[str, Any]:
        body: dict[str, Any] = response.json()
        assert (response.status_code, body["code"], body["success"]) == (status, code, False)
        assert stored(connection) == before
        assert not LogEntry.objects.exists()
        return body

    return check


@pytest.fixture
def untouched(connection: StripeConnection, stored: Any) -> Iterator[None]:
    """Assert, after the test, that nothing was written or recorded."""
    before = stored(connection)
    yield
    assert stored(connection) == before
    assert not LogEntry.objects.exists()


REFUSE_RECORDS = {
    "sqlite": """
        CREATE TRIGGER refuse_records BEFORE INSERT ON auditlog_logentry
        BEGIN SELECT RAISE(ABORT, 'no records'); END
    """,
    "postgresql": """
        CREATE TRIGGER refuse_records BEFORE INSERT ON auditlog_logentry
        EXECUTE FUNCTION auditlog_refuse_change()
    """,
}


@pytest.fixture
def no_records(db: None) -> Iterator[None]:
    """The database refuses every audit record."""
    table = "" if database.vendor == "sqlite" else " ON auditlog_logentry"
    with database.cursor() as cursor:
        cursor.execute(REFUSE_RECORDS[database.vendor])
    yield
    with database.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER refuse_records{table}")


@pytest.fixture
def transactions(stripe, monkeypatch):  # noqa: F811 - the fixture
    """A list that records, for each verification, whether a transaction was open."""
    verify, found = verification.verify, []

    def look_and_verify(*arguments, **options):
        found.append(database.in_atomic_block)
        return verify(*arguments, **options)

    monkeypatch.setattr(verification, "verify", look_and_verify)
    return found
