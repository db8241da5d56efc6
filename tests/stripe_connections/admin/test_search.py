"""The search for connections: what it finds, and that it uses indexes."""

import re
import sqlite3
from contextlib import closing

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from stripe_connections.models import StripeConnection
from stripe_connections.search import search
from tests.conftest import random_api_key
from tests.stripe_connections.admin.conftest import LIST
from workspaces.models import Membership

ROWS = 20_000
# A table with the numbers from 1 to ROWS.
NUMBERS = {
    "postgresql": f"(SELECT generate_series AS n FROM generate_series(1, {ROWS}))",
    "sqlite": f"""(WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series
        WHERE n < {ROWS}) SELECT n FROM series)""",
}
# Each statement inserts a row for each number, or for every tenth number.
CROWD = (
    """INSERT INTO workspaces_tenant (biz_id, name)
    SELECT 'tn_crowd' || n, 'Tenant ' || n FROM {numbers} AS numbers WHERE n % 10 = 0""",
    """INSERT INTO workspaces_workspace (biz_id, name, is_active, tenant_id)
    SELECT replace(biz_id, 'tn_', 'ws_'), replace(name, 'Tenant', 'Workspace'), true, id
    FROM workspaces_tenant""",
    """INSERT INTO auth_user (username, email, password, is_superuser, is_staff, is_active,
        first_name, last_name, date_joined)
    SELECT 'member' || n, 'mail' || n || '@customer.example', '', false, false, true, '', '',
        CURRENT_TIMESTAMP
    FROM {numbers} AS numbers WHERE n % 10 = 0""",
    """INSERT INTO workspaces_membership (role, user_id, workspace_id)
    SELECT 'viewer', auth_user.id, workspaces_workspace.id FROM auth_user
    JOIN workspaces_workspace ON biz_id = replace(username, 'member', 'ws_crowd')""",
    """INSERT INTO stripe_connections_stripeconnection (biz_id, workspace_id, connection_name,
        stripe_account_id, partner_endpoint, status, version, created_at, updated_at,
        api_key, api_key_hint, api_key_fingerprint, api_key_replaced_at)
    SELECT 'sc_crowd' || n, (SELECT min(id) FROM workspaces_workspace) + n % {workspaces},
        'Connection ' || n, 'acct_' || n, 'https://hooks.h' || n || '.example.com/hook', 1, 1,
        CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, {token}, 'sk_live_…' || (1000 + n % 9000), 'x',
        CURRENT_TIMESTAMP
    FROM {numbers} AS numbers""",
    "ANALYZE",
)


@pytest.fixture
def crowd(db):
    """So many rows that the planner prefers an index to a scan."""
    fill = {
        "numbers": NUMBERS[database.vendor],
        "workspaces": ROWS // 10,
        "token": {"postgresql": "'x'::bytea", "sqlite": "x'78'"}[database.vendor],
    }
    with database.cursor() as cursor:
        for statement in CROWD:
            cursor.execute(statement.format(**fill))


def found(text):
    return set(search(StripeConnection.objects.all(), text).values_list("biz_id", flat=True))


@pytest.fixture
def customer(workspace):
    """A member of the workspace."""
    user = User.objects.create_user("ann.smith", "Ann@Customer.example")
    return Membership.objects.create(user=user, workspace=workspace)


FINDING = (
    "sc_abc123", "sc_ab", "abc123", "SC_ABC123", "ABC1", "Stripe Conn", "stripe conn",
    "acct_1234567890", "acct_12", "1234567890", "ACCT_12", "partner.example.com", "PARTNER.ex",
    "https://partner.example.com/webhook", "example.com", "EXAMPLE.com", "https://example.com/",
    "ws_demo", "demo", "WS_Demo", "Demo", "tn_xyz789", "tn_x", "xyz789", "Example Ltd", "exam",
    "ann.smith", "Ann", "ann@customer.example", "partner.example.co",
)  # fmt: skip
FINDING_NOTHING = (
    "bc123", "Connection", "acct_2", "234567890", "ample.com", "com", "x.example.com", "ws_other",
    "ws", "Ltd", "smith", "customer.example", "%", "_", "\\", ".",
)  # fmt: skip


def test_text_finds_the_connection_or_not(connection, customer):
    assert [text for text in FINDING if found(text) != {"sc_abc123"}] == []
    assert [text for text in FINDING_NOTHING if found(text)] == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://a.b.example.com", "https://a.b.example.com:8443/x", "https://a.b.example.com?x=/",
        "https://A.B.Example.COM/x.y", "HTTPS://a.b.example.com/" + "x" * 2_000,
    ],
)  # fmt: skip
def test_domain_finds_every_host_below_it(workspace, make_connection, endpoint):
    make_connection(workspace, "sc_deep", partner_endpoint=endpoint)

    assert found("example.com") == found("b.example.com") == {"sc_deep"}


@pytest.fixture
def live(workspace, make_connection):
    """A connection whose live key ends in 4aB2."""
    connection = make_connection(workspace, "sc_live")
    connection.replace_secret("api_key", random_api_key()[:-4] + "4aB2")
    connection.save()
    return connection


@pytest.mark.parametrize("text", ["4aB2", "sk_live_…4aB2", "sk_live_...4aB2", "…4aB2"])
def test_last_characters_of_the_key_find_the_connection_in_the_list(staff, live, connection, text):
    shown = staff.peek(LIST, {"q": text})["cl"].result_list

    assert [row.biz_id for row in shown] == ["sc_live"]


HINTS = (
    "4aB2", "4AB2", "sk_live_…4aB2", "sk_live_...4aB2", "sk_live_****4aB2", "sk_live_••••4aB2",
    "…4aB2", "...4aB2",
)  # fmt: skip
OTHER_HINTS = ("aB2", "x4aB2", "sk_test_…4aB2", "rk_live_…4aB2", "sk_live_…")


def test_only_the_last_characters_of_the_key_find_the_connection(live, connection):
    assert [text for text in HINTS if found(text) != {"sc_live"}] == []
    assert [text for text in OTHER_HINTS if found(text)] == []


def test_search_ignores_the_case_of_ascii_letters(workspace, make_connection):
    make_connection(workspace, "sc_lumiere", connection_name="Café LUMIÈRE")

    assert found("café lumi") == {"sc_lumiere"}


TEXTS = (
    "sc_crowd12000", "CROWD12000", "acct_12000", "12000", "connection 12000", "tenant 12000",
    "workspace 12000", "tn_crowd12000", "ws_crowd12000", "4000", "sk_live_…4000", "member12000",
    "nothing is called this",
)  # fmt: skip
# SQLite has no index on domains.
DOMAINS = ("hooks.h12000.exam", "h12000.example.com", "mail12000@customer.example")
SEARCHED = {"sqlite": TEXTS, "postgresql": TEXTS + DOMAINS}
# A plan must not read a whole table.
SCANS = r"Seq Scan on|SCAN \w+"


def test_search_uses_only_indexes(crowd, explained):
    plans = {text: explained(text) for text in SEARCHED[database.vendor]}

    assert {text: plan for text, plan in plans.items() if re.search(SCANS, plan)} == {}


@pytest.mark.only_on("sqlite", reason="only SQLite could need functions of the service")
def test_other_programs_can_restore_the_tables_of_sqlite(db):
    with database.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        tables = [sql for (sql,) in cursor if not sql.startswith("CREATE TABLE sqlite_")]

    with closing(sqlite3.connect(":memory:")) as other:
        other.executescript(";".join(tables))


@pytest.fixture
def explained(staff):
    """Return a function that explains all queries of a search in the list."""

    def explain(text):
        with CaptureQueriesContext(database) as queries:
            list(staff.peek(LIST, {"q": text})["cl"].result_list)
        searches = [
            q["sql"] for q in queries if re.search("stripe_connections_|workspaces_", q["sql"])
        ]
        with database.cursor() as cursor:
            return "\n".join(plan(cursor, sql) for sql in searches)

    def plan(cursor, sql):
        words = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[database.vendor]
        cursor.execute(f"{words} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())

    return explain
