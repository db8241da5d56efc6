"""Finding a connection by the beginning of what the caller says, with an index."""

import pytest
from django.db import connection as database

from stripe_connections.models import StripeConnection
from stripe_connections.search import search
from workspaces.models import Workspace


@pytest.fixture
def crowd(workspace, other_workspace):
    """Enough rows that reading all of them is the worse plan."""
    Workspace.objects.bulk_create(
        Workspace(biz_id=f"ws_crowd{n}", tenant=workspace.tenant, name="Crowd") for n in range(50)
    )
    workspaces = list(Workspace.objects.filter(name="Crowd"))
    StripeConnection.objects.bulk_create(
        StripeConnection(
            biz_id=f"sc_{n:04}x",
            workspace=workspaces[n % 50],
            connection_name=f"{n:04} Connection",
            stripe_account_id=f"acct_{n:04}x",
            partner_endpoint=f"https://h{n:04}.example.com/hook",
        )
        for n in range(3_000)
    )
    with database.cursor() as cursor:
        cursor.execute("ANALYZE")


def found(text):
    return set(search(StripeConnection.objects.all(), text).values_list("biz_id", flat=True))


@pytest.mark.parametrize(
    "text",
    [
        "sc_abc123", "sc_ab", "Stripe Conn", "stripe conn", "acct_1234567890", "acct_12",
        "partner.example.com", "PARTNER.ex", "https://partner.example.com/webhook",
        "ws_demo", "tn_xyz789", "tn_x",
    ],
)  # fmt: skip
def test_beginning_finds_the_connection(connection, text):
    assert found(text) == {"sc_abc123"}


@pytest.mark.parametrize(
    "text",
    [
        "abc123",
        "SC_ABC123",
        "Connection",
        "acct_2",
        "example.com",
        "ws_other",
        "ws",
        "%",
        "_",
        "\\",
    ],
)
def test_other_text_does_not_find_it(connection, text):
    assert found(text) == set()


def test_case_of_other_letters_than_ascii_is_the_databases_affair(workspace, make_connection):
    make_connection(workspace, "sc_lumiere", connection_name="Café LUMIÈRE")

    assert found("café lumi") == {"sc_lumiere"}


def plan(text: str) -> str:
    return search(StripeConnection.objects.order_by("-pk"), text)[:50].explain()


def scans_or_lacks_an_index(plan: str) -> bool:
    indexes = ("biz_id", "name", "account", "endpoint")
    is_scan = "SCAN stripe_connections" in plan or "Seq Scan on stripe_connections" in plan
    return is_scan or any(f"connection_search_{index}" not in plan for index in indexes)


def test_search_uses_indexes(crowd):
    texts = ["sc_0042", "acct_0042", "0042 conn", "h0042.example.com", "ws_crowd7", "0042"]

    plans = {text: plan(text) for text in texts}

    assert {text: plan for text, plan in plans.items() if scans_or_lacks_an_index(plan)} == {}
