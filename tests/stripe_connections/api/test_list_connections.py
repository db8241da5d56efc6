"""The list call: pages, filters, orders and totals."""

import re
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from stripe_connections.models import Status, StripeConnection
from stripe_connections.secrets.columns import column_names
from tests.conftest import ApiClient, connections_path, errors_of, set_columns
from tests.stripe_connections.api.test_update_properties import bounded
from workspaces.models import Membership, Tenant, Workspace


def ids(response):
    return [item["bizId"] for item in response.json()["data"]["items"]]


def following(response):
    return response.json()["data"]["nextAfter"]


@pytest.fixture
def three(workspace, make_connection):
    """Three connections, oldest first."""
    names = ["Éclair Paris", "shop 100%", "Shop_two"]
    return [
        make_connection(workspace, f"sc_{number}", connection_name=name)
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("who", ["manager", "viewer"])
def test_members_see_the_connections_newest_first(request, three, who):
    response = request.getfixturevalue(who).read()

    assert response.status_code == 200
    assert (ids(response), following(response)) == (["sc_2", "sc_1", "sc_0"], None)


def test_item_is_that_of_the_detail_call(manager, connection):
    [item] = manager.read().json()["data"]["items"]

    assert item == manager.read("/sc_abc123").json()["data"]


def test_workspace_without_connections_has_an_empty_page(manager):
    assert manager.read().json()["data"] == {"items": [], "nextAfter": None}


def test_connections_of_other_workspaces_are_not_listed(
    manager, connection, sibling_workspace, other_workspace, make_connection
):
    for place in (sibling_workspace, other_workspace):
        make_connection(place)

    assert ids(manager.read()) == ["sc_abc123"]


def test_pages_follow_each_other(manager, three):
    first = manager.read(query={"limit": "2"})
    second = manager.read(query={"limit": "2", "after": following(first)})

    assert (ids(first), following(first)) == (["sc_2", "sc_1"], "sc_1")
    assert (ids(second), following(second)) == (["sc_0"], None)


def test_full_page_without_more_connections_is_the_last(manager, three):
    response = manager.read(query={"limit": "3"})

    assert (len(ids(response)), following(response)) == (3, None)


def test_page_has_fifty_connections_by_default(manager, workspace):
    StripeConnection.objects.bulk_create(
        StripeConnection(workspace=workspace, connection_name=str(number)) for number in range(51)
    )

    assert len(ids(manager.read())) == 50
    assert len(ids(manager.read(query={"limit": "100"}))) == 51


@pytest.mark.parametrize(
    ("status", "found"), [("ACTIVE", ["sc_2", "sc_0"]), ("INACTIVE", ["sc_1"])]
)
def test_filter_by_status(manager, three, status, found):
    set_columns(three[1], status=Status.INACTIVE)

    assert ids(manager.read(query={"status": status})) == found


SEARCHES = {
    "": ["sc_2", "sc_1", "sc_0"],
    "SHOP": ["sc_2", "sc_1"],
    "two": ["sc_2"],
    "éCLAIR": ["sc_0"],
    "100%": ["sc_1"],
    "p_t": ["sc_2"],
    "p t": [],
    ".*": [],
    "(?i)shop": [],
    "***=shop": [],
    "\\": [],
    "[": [],
    "sc_1": [],
    "acct_1234567890": [],
    " two ": ["sc_2"],
}


def test_search_finds_a_part_of_the_name(manager, three):
    assert {search: ids(manager.read(query={"search": search})) for search in SEARCHES} == SEARCHES


def test_filters_apply_to_every_page(manager, three):
    query = {"search": "shop", "limit": "1", "status": "ACTIVE"}
    first = manager.read(query=query)
    second = manager.read(query=query | {"after": following(first)})

    assert (ids(first), ids(second), following(second)) == (["sc_2"], ["sc_1"], None)


BAD = {
    "limit=0": ("limit", "out_of_range"),
    "limit=101": ("limit", "out_of_range"),
    "limit=-1": ("limit", "out_of_range"),
    "limit=1.0": ("limit", "out_of_range"),
    "limit=": ("limit", "blank"),
    "limit=%D9%A1": ("limit", "out_of_range"),
    f"limit={'9' * 5_000}": ("limit", "out_of_range"),
    "status=2": ("status", "not_a_choice"),
    "status=": ("status", "blank"),
    "status=%00": ("status", "invalid_characters"),
    "status=active": ("status", "not_a_choice"),
    "mode=prod": ("mode", "not_a_choice"),
    "outcome=ok": ("outcome", "not_a_choice"),
    "cause=null": ("cause", "not_a_choice"),
    "hasWebhookSecret=1": ("hasWebhookSecret", "not_a_choice"),
    "count=yes": ("count", "not_a_choice"),
    "sort=apiKey": ("sort", "not_a_choice"),
    "sort=--name": ("sort", "not_a_choice"),
    "stripeAccountId=": ("stripeAccountId", "blank"),
    f"stripeAccountId={'x' * 256}": ("stripeAccountId", "max_length"),
    "sort=name&after=sc_abc123": ("after", "not_found"),
    "sort=name&after=sc_other~x": ("after", "not_found"),
    "sort=updated&after=sc_abc123~x": ("after", "not_found"),
    f"sort=updated&after=sc_abc123~{'9' * 18}": ("after", "not_found"),
    "after=sc_abc123~1": ("after", "not_found"),
    "after=sc_nothere": ("after", "not_found"),
    "after=sc_other": ("after", "not_found"),
    "after=%00": ("after", "invalid_characters"),
    "after=": ("after", "blank"),
    f"after={'x' * 450}": ("after", "max_length"),
    "search=%00": ("search", "invalid_characters"),
    f"search={'x' * 129}": ("search", "max_length"),
    "Limit=1": ("Limit", "unknown"),
    "page=2": ("page", "unknown"),
    "=": (None, "unknown"),
    # A short key, pasted in the wrong place.
    "sk_" + "live_4242=1": (None, "unknown"),
    "%00=1": (None, "unknown"),
    "limit=1&limit=2": (None, "duplicate"),
    "limit=1&limit=1": (None, "duplicate"),
    "search=%FF": (None, "invalid"),
    "search=%ED%A0%80": (None, "invalid"),
    "&".join(f"a{number}=1" for number in range(21)): (None, "invalid"),
}


@pytest.mark.usefixtures("untouched")
def test_bad_query_is_refused(manager, make_connection, other_workspace):
    make_connection(other_workspace, "sc_other")

    found = {query: errors_of(manager.get(f"{connections_path()}?{query}")) for query in BAD}

    assert found == {query: (400, [error]) for query, error in BAD.items()}


def test_every_bad_value_is_listed(manager, assert_refused):
    response = manager.read(query={"limit": "x", "status": "y", "serch": "z"})

    errors = assert_refused(response, 400, "4000")["errors"]
    assert {error["field"] for error in errors} == {"limit", "status", "serch"}
    assert errors[-1]["message"] == "Unknown field. Did you mean search?"


def test_query_may_be_raw_utf8(manager, three):
    response = manager.generic(
        "GET", connections_path(), QUERY_STRING="search=Écl".encode().decode("latin-1")
    )

    assert ids(response) == ["sc_0"]


FILTERED = [
    ({"mode": "live"}, ["sc_1", "sc_0"]),
    ({"mode": "test"}, ["sc_2"]),
    ({"stripeAccountId": "acct_1234567890"}, ["sc_1", "sc_0"]),
    ({"stripeAccountId": "acct_123456789"}, []),
    ({"outcome": "rejected"}, ["sc_1"]),
    ({"outcome": "unverified"}, ["sc_2", "sc_0"]),
    ({"cause": "expired"}, ["sc_1"]),
    ({"cause": "busy"}, []),
    ({"hasWebhookSecret": "true"}, ["sc_2", "sc_1"]),
    ({"hasWebhookSecret": "false"}, ["sc_0"]),
    ({"mode": "live", "hasWebhookSecret": "true", "search": "shop"}, ["sc_1"]),
]


def test_list_can_be_filtered(manager, three):
    none = dict.fromkeys(column_names("webhook_secret"))
    set_columns(three[0], **none)
    set_columns(three[1], verification="rejected", verification_cause="expired")
    set_columns(three[2], api_key_hint="sk_test_…4242", stripe_account_id=None)

    assert [(query, ids(manager.read(query=query))) for query, _ in FILTERED] == FILTERED


@pytest.fixture
def shuffled(workspace, make_connection):
    """Connections whose names and update times are sorted differently and contain duplicates."""
    rows = [("beta", 3), ("Alpha", 1), ("éclair", 2), ("alpha", 1), ("Zulu", 5)]
    for number, (name, day) in enumerate(rows):
        connection = make_connection(workspace, f"sc_{number}", connection_name=name)
        # In Django's format, because SQLite compares times as text.
        time = datetime(2026, 3, day, tzinfo=UTC)
        StripeConnection.objects.filter(pk=connection.pk).update(updated_at=time)


SORTED = {
    "created": "01234",
    "-created": "43210",
    "name": "13042",
    "-name": "24031",
    "updated": "13204",
    "-updated": "40231",
}


def all_pages(manager, query):
    """Return the numbers of the connections on all pages."""
    seen = ""
    while query:
        page = manager.read(query=query)
        seen += "".join(biz_id.removeprefix("sc_") for biz_id in ids(page))
        query = following(page) and query | {"after": following(page)}
    return seen


@pytest.mark.parametrize("limit", ["1", "2", "5"])
def test_every_order_can_be_paged(manager, shuffled, limit):
    assert {sort: all_pages(manager, {"sort": sort, "limit": limit}) for sort in SORTED} == SORTED


@pytest.mark.parametrize(("sort", "order"), SORTED.items())
def test_row_that_moves_between_pages_hides_no_other(manager, shuffled, sort, order):
    """The last connection of the first page is renamed."""
    first = manager.read(query={"sort": sort, "limit": "2"})
    manager.update({"connectionBizId": f"sc_{order[1]}", "connectionName": "zzz"})

    second = manager.read(query={"sort": sort, "limit": "5", "after": following(first)})

    assert [biz_id for biz_id in ids(second) if biz_id != f"sc_{order[1]}"] == [
        f"sc_{number}" for number in order[2:]
    ]


def test_longest_name_can_be_a_position(manager, workspace, make_connection):
    """This name becomes longer in lower case."""
    for number in range(2):
        make_connection(workspace, f"sc_{number}{'x' * 60}", connection_name="\u0130" * 128)
    first = manager.read(query={"sort": "name", "limit": "1"})

    second = manager.read(query={"sort": "name", "after": following(first)})

    assert ids(second) == [f"sc_1{'x' * 60}"]


@pytest.mark.parametrize(
    ("query", "total"),
    [({}, 3), ({"limit": "1"}, 3), ({"search": "shop"}, 2), ({"search": "nothing"}, 0)],
)
def test_total_counts_every_page(manager, three, query, total):
    assert manager.read(query=query | {"count": "true"}).json()["data"]["total"] == total


def test_total_is_the_same_on_a_later_page(manager, three):
    response = manager.read(query={"count": "true", "after": "sc_1"})

    assert response.json()["data"]["total"] == 3


@pytest.mark.parametrize("query", [{}, {"count": "false"}])
def test_nothing_is_counted_unless_requested(manager, three, query):
    assert "total" not in manager.read(query=query).json()["data"]


def test_total_is_bounded(manager, workspace):
    def total_after(created):
        StripeConnection.objects.bulk_create(
            StripeConnection(workspace=workspace, connection_name="x") for _ in range(created)
        )
        return manager.read(query={"count": "true"}).json()["data"]["total"]

    assert [total_after(created) for created in (1_000, 1, 1)] == [1_000, 1_001, 1_001]


class TestPaging(TestCase):
    """Pages are complete if connections are created between two requests."""

    @classmethod
    def setUpTestData(cls):
        tenant = Tenant.objects.create(name="Paged Ltd")
        cls.workspace = Workspace.objects.create(tenant=tenant, biz_id="ws_paged", name="Paged")
        user = User.objects.create_user("reader")
        Membership.objects.create(user=user, workspace=cls.workspace)
        cls.client_of_reader = ApiClient(user)

    def create(self, count):
        made = StripeConnection.objects.bulk_create(
            StripeConnection(workspace=self.workspace, connection_name="x") for _ in range(count)
        )
        return [connection.biz_id for connection in reversed(made)]

    @settings(bounded, max_examples=15)
    @given(count=st.integers(0, 8), limit=st.integers(1, 4), others=st.lists(st.integers(0, 2)))
    def test_each_connection_is_seen_once_and_in_order(self, count, limit, others):
        created, seen, query = self.create(count), [], {"limit": str(limit)}
        newer = iter(others)

        while query is not None:
            page = self.client_of_reader.read("", query, "ws_paged")
            seen += ids(page)
            self.create(next(newer, 0))
            after = following(page)
            query = after and {"limit": str(limit), "after": after}

        assert seen == created


# The order by update time has no index, because an index would slow down every update.
PLANS = {
    "-created": ("connection_of_workspace", False),
    "created": ("connection_of_workspace", False),
    "name": ("connection_by_name", False),
    "-name": ("connection_by_name", False),
    "updated": ("connection_", True),
}


def plan_of(manager, query):
    """Return how a page is read, without the part for the secrets of each connection."""
    with CaptureQueriesContext(database) as captured:
        manager.read(query=query)
    with database.cursor() as cursor:
        explain = "EXPLAIN QUERY PLAN" if database.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {captured[-1]['sql']}")
        found = " ".join(str(value) for row in cursor.fetchall() for value in row)
    return found.partition("SubPlan")[0]


def test_every_page_is_read_with_an_index(manager, workspace, other_workspace):
    """Connections of other workspaces are not read, and most orders need no sorting."""
    for place, count in ((workspace, 30), (other_workspace, 2_000)):
        StripeConnection.objects.bulk_create(
            StripeConnection(workspace=place, connection_name=str(n)) for n in range(count)
        )
    with database.cursor() as cursor:
        cursor.execute("ANALYZE")

    for sort, (index, is_sorted) in PLANS.items():
        query = {"sort": sort, "limit": "10"}
        later = query | {"after": following(manager.read(query=query | {"limit": "20"}))}
        for plan in (plan_of(manager, query), plan_of(manager, later)):
            assert index in plan, sort
            assert "Seq Scan" not in plan, sort
            assert bool(re.search(r"(?i)\bsort\b|order by", plan)) is is_sorted, sort
