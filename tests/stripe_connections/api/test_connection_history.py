"""The history call: the audit of a connection, for managers."""

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import Status, StripeConnection
from tests.conftest import ApiClient, connections_path, errors_of, random_api_key, set_columns
from tests.stripe_connections.api.test_update_properties import bounded
from tests.stripe_connections.bulk.conftest import run
from workspaces.models import Membership, Role, Tenant, Workspace

NAMES = ["number", "at", "action", "actor", "source", "requestId", "version", "changes"]


def update(client, **changes):
    headers = {"X-Request-Id": "request-1"}
    return client.update({"connectionBizId": "sc_abc123"} | changes, headers=headers)


def history(client, query=None, biz_id="sc_abc123", workspace_id="ws_demo"):
    return client.read(f"/{biz_id}/history", query, workspace_id)


def page(response):
    data = response.json()["data"]
    return [item["number"] for item in data["items"]], data["nextBefore"]


def test_unchanged_connection_has_no_history(manager, connection):
    assert history(manager).json()["data"] == {"items": [], "nextBefore": None}


def test_update_is_shown(manager, connection):
    update(manager, connectionName="New", configJson="{}")

    [entry] = history(manager).json()["data"]["items"]

    record = LogEntry.objects.get()
    assert list(entry) == NAMES
    # PostgreSQL does not keep the order of a JSON object.
    entry["changes"].sort(key=lambda change: change["field"])
    assert entry == {
        "number": 1,
        "at": f"{record.timestamp:%Y-%m-%dT%H:%M:%SZ}",
        "action": "changed",
        "actor": "manager",
        "source": "api",
        "requestId": "request-1",
        "version": 2,
        "changes": [
            {"field": "configJson", "old": None, "new": "{}"},
            {"field": "connectionName", "old": "Stripe Connection", "new": "New"},
        ],
    }


def test_equal_value_is_not_shown_as_a_change(manager, connection):
    shown = manager.read("/sc_abc123").json()["data"]
    manager.update(shown | {"connectionName": "New"})

    [entry] = history(manager).json()["data"]["items"]

    assert entry["changes"] == [
        {"field": "connectionName", "old": "Stripe Connection", "new": "New"}
    ]


def test_same_secret_again_is_shown_as_a_change(manager, connection):
    key = random_api_key()
    update(manager, apiKey=key)
    update(manager, apiKey=key)

    latest = history(manager).json()["data"]["items"][0]

    assert [change["field"] for change in latest["changes"]] == ["apiKey"]


def test_secrets_are_shown_as_hints(manager, connection):
    key = random_api_key("rk_test_")
    update(manager, apiKey=key)

    response = history(manager)

    [change] = response.json()["data"]["items"][0]["changes"]
    assert change == {
        "field": "apiKey",
        "old": connection.api_key_hint,
        "new": f"replaced rk_test_…{key[-4:]}",
    }
    assert key not in response.content.decode()


def test_creation_is_shown(manager):
    created = manager.post(
        f"{connections_path()}/create", {"connectionName": "New"}, content_type="application/json"
    ).json()["data"]["bizId"]

    [entry] = history(manager, biz_id=created).json()["data"]["items"]

    assert (entry["action"], entry["version"]) == ("created", 1)
    assert entry["changes"] == [{"field": "connectionName", "old": None, "new": "New"}]


@pytest.mark.parametrize("source", Source)
def test_changes_from_every_source_are_shown(manager, connection, source):
    services.update_connection(
        workspace=connection.workspace,
        biz_id="sc_abc123",
        changes={"status": Status.INACTIVE},
        actor=Actor(None, source),
    )

    [entry] = history(manager).json()["data"]["items"]

    assert (entry["actor"], entry["source"], entry["requestId"]) == (None, source, None)
    assert entry["changes"] == [{"field": "status", "old": 1, "new": 0}]


def test_name_of_a_deleted_user_is_shown(manager, connection, workspace, make_user):
    leaver = make_user("leaver", workspace)
    update(ApiClient(leaver), connectionName="New")
    leaver.delete()

    assert history(manager).json()["data"]["items"][0]["actor"] == "leaver"


def test_history_of_another_connection_is_not_shown(
    manager, connection, workspace, make_connection
):
    make_connection(workspace, "sc_sister")
    update(manager, connectionName="New")

    assert page(history(manager, biz_id="sc_sister")) == ([], None)


def test_each_connection_has_its_own_numbers(manager, connection, workspace, make_connection):
    make_connection(workspace, "sc_sister")
    update(manager, connectionName="a")
    manager.update({"connectionBizId": "sc_sister", "connectionName": "b"})
    update(manager, connectionName="c")

    assert page(history(manager)) == ([2, 1], None)
    assert page(history(manager, biz_id="sc_sister")) == ([1], None)


@pytest.fixture
def five(manager, connection):
    for number in range(5):
        update(manager, connectionName=f"Name {number}")


PAGES = [
    ({}, ([5, 4, 3, 2, 1], None)),
    ({"limit": "2"}, ([5, 4], 4)),
    ({"limit": "2", "before": "4"}, ([3, 2], 2)),
    ({"limit": "2", "before": "2"}, ([1], None)),
    ({"limit": "5"}, ([5, 4, 3, 2, 1], None)),
    ({"before": "1"}, ([], None)),
    ({"limit": "2", "before": "6"}, ([5, 4], 4)),
    ({"limit": "2", "before": "1000000000000000000"}, ([5, 4], 4)),
]


def test_pages_are_sorted_from_the_newest_to_the_oldest(manager, five):
    assert [(query, page(history(manager, query))) for query, _ in PAGES] == PAGES


def test_versions_are_sorted_like_the_numbers(manager, five):
    items = history(manager).json()["data"]["items"]

    assert [item["version"] for item in items] == [6, 5, 4, 3, 2]


BAD = {
    "limit=0": ("limit", "out_of_range"),
    "limit=101": ("limit", "out_of_range"),
    "before=0": ("before", "out_of_range"),
    "before=-1": ("before", "out_of_range"),
    "before=1.5": ("before", "out_of_range"),
    "before=": ("before", "blank"),
    "before=%00": ("before", "invalid_characters"),
    f"before={10**18 + 1}": ("before", "out_of_range"),
    f"before={'9' * 5_000}": ("before", "out_of_range"),
    "before=%D9%A1": ("before", "out_of_range"),
    "after=1": ("after", "unknown"),
    "before=1&before=1": (None, "duplicate"),
    "before=%FF": (None, "invalid"),
}


@pytest.mark.usefixtures("untouched")
def test_bad_query_is_refused(manager):
    path = f"{connections_path()}/sc_abc123/history"
    found = {query: errors_of(manager.get(f"{path}?{query}")) for query in BAD}

    assert found == {query: (400, [error]) for query, error in BAD.items()}


def test_missing_connection_is_404(manager, make_connection, other_workspace):
    make_connection(other_workspace, "sc_other")
    biz_ids = ("sc_nothere", "sc_other", "%00", "x" * 300)

    responses = [history(manager, biz_id=biz_id) for biz_id in biz_ids]

    assert [response.status_code for response in responses] == [404] * 4
    assert {response.json()["message"] for response in responses} == {
        "Stripe tenant connection not found"
    }


def test_reencryption_of_a_batch_is_not_shown(
    manager, workspace, connection, make_connection, settings
):
    """It changes nothing that the API shows."""
    make_connection(workspace, "sc_other")
    settings.FERNET_KEYS = settings.FERNET_KEYS[::-1]
    run("rotate_secrets", "--apply")

    assert LogEntry.objects.count() == 1
    assert page(history(manager)) == ([], None)


def test_undecryptable_secret_does_not_matter(manager, connection):
    update(manager, connectionName="New")
    set_columns(connection, api_key=b"garbage")

    assert history(manager).status_code == 200


class TestPaging(TestCase):
    """Pages are complete if the connection is changed between two requests."""

    @classmethod
    def setUpTestData(cls):
        tenant = Tenant.objects.create(name="Paged Ltd")
        workspace = Workspace.objects.create(tenant=tenant, biz_id="ws_paged", name="Paged")
        user = User.objects.create_user("manager of pages")
        Membership.objects.create(user=user, workspace=workspace, role=Role.MANAGER)
        cls.manager = ApiClient(user)
        cls.connection = StripeConnection.objects.create(
            workspace=workspace, biz_id="sc_paged", connection_name="x"
        )

    def change(self, count):
        for _ in range(count):
            body = {"connectionBizId": "sc_paged", "connectionName": "x"}
            assert self.manager.update(body, "ws_paged").status_code == 200

    @settings(bounded, max_examples=15)
    @given(
        count=st.integers(0, 6),
        limit=st.integers(1, 3),
        others=st.lists(st.integers(0, 2), max_size=4),
    )
    def test_each_entry_is_seen_once_and_in_order(self, count, limit, others):
        self.change(count)
        seen, before, newer = [], "1000000", iter(others)

        while before is not None:
            found, before = page(
                history(
                    self.manager,
                    {"limit": str(limit), "before": str(before)},
                    "sc_paged",
                    "ws_paged",
                )
            )
            seen += found
            self.change(next(newer, 0))

        assert seen == list(range(count, 0, -1))
