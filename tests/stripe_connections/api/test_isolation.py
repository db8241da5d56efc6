"""A caller reaches only the workspaces of their memberships, and only their connections."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from stripe_connections.models import StripeConnection
from tests.conftest import (
    CALLS,
    ApiClient,
    connections_path,
    create_connection,
    create_user,
    random_api_key,
    set_columns,
)
from tests.stripe_connections.undo.conftest import keep
from workspaces.models import Membership, Role, Tenant, Workspace

FORBIDDEN = (
    403,
    b'{"version":"1.3.0","timestamp":0,"success":false,"code":"4030","message":"Forbidden"}',
)
NOT_FOUND = (
    404,
    (
        b'{"version":"1.3.0","timestamp":0,"success":false,"code":"4040",'
        b'"message":"Stripe tenant connection not found"}'
    ),
)
MALFORMED = [
    "ws", "ws_", "ws_de-mo", "WS_demo", "tn_xyz789", "sc_abc123", "demo", "1", "*", "ws_demo%00",
    "ws_demo%0A", "%20ws_demo", "ws_demo%20", "ws_%EF%BD%84emo", "ws_" + "x" * 62, "x" * 5_000,
    "..", "ws_demo;x", "ws_demo'--", "%25", "%FF",
]  # fmt: skip
# The business ID of a workspace of each kind.
WORKSPACES = {
    "own": "ws_demo",
    "sibling": "ws_sibling",
    "other tenant": "ws_other",
    "inactive": "ws_inactive",
    "unknown": "ws_unknown",
    "in another case": "ws_Demo",
} | {f"malformed {index}": biz_id for index, biz_id in enumerate(MALFORMED)}
# The roles that may write in a workspace of each kind.
ALLOWED = {
    ("manager", "own"),
    ("outsider", "other tenant"),
    ("manager and viewer", "own"),
    ("manager of two", "own"),
    ("manager of two", "sibling"),
}


@pytest.fixture(scope="module")
def world(outer_transaction: None) -> dict[str, Workspace]:
    """The existing workspaces, by kind."""
    tenant = Tenant.objects.create(biz_id="tn_xyz789", name="Example Ltd")
    other = Tenant.objects.create(biz_id="tn_other", name="Somebody Else Ltd")
    create = Workspace.objects.create
    return {
        "own": create(biz_id="ws_demo", tenant=tenant, name="Demo"),
        "sibling": create(biz_id="ws_sibling", tenant=tenant, name="Sibling"),
        "other tenant": create(biz_id="ws_other", tenant=other, name="Other"),
        "inactive": create(biz_id="ws_inactive", tenant=tenant, name="Inactive", is_active=False),
    }


@pytest.fixture(scope="module")
def connections(world: dict[str, Workspace]) -> dict[str, StripeConnection]:
    """A connection with a replaced API key in each workspace."""
    made = {
        kind: create_connection(place, f"sc_{place.biz_id[3:]}") for kind, place in world.items()
    }
    for connection in made.values():
        # Not with the service, because all tests of this module would see the audit record.
        keep(connection, 1)
        connection.replace_secret("api_key", random_api_key())
        connection.save()
    return made


@pytest.fixture(scope="module")
def clients(world: dict[str, Workspace]) -> dict[str, ApiClient]:
    """A client for each role; two of the users also manage the inactive workspace."""
    users = {
        "manager": create_user("manager", world["own"], Role.MANAGER),
        "viewer": create_user("viewer", world["own"], Role.VIEWER),
        "outsider": create_user("outsider", world["other tenant"], Role.MANAGER),
        "manager and viewer": create_user("both", world["own"], Role.MANAGER),
        "manager of two": create_user("two", world["own"], Role.MANAGER),
        "member of nothing": create_user("nobody"),
        "superuser": User.objects.create_superuser("superuser"),
    }
    for name, place, role in [
        ("manager and viewer", "sibling", Role.VIEWER),
        ("manager and viewer", "inactive", Role.MANAGER),
        ("manager of two", "sibling", Role.MANAGER),
        ("manager of two", "inactive", Role.MANAGER),
    ]:
        Membership.objects.create(user=users[name], workspace=world[place], role=role)
    return {name: ApiClient(user) for name, user in users.items()}


@pytest.fixture
def workspace(world: dict[str, Workspace], db: None) -> Workspace:
    return world["own"]


@pytest.fixture
def manager(clients: dict[str, ApiClient], db: None) -> ApiClient:
    return clients["manager"]


@pytest.fixture
def viewer(clients: dict[str, ApiClient], db: None) -> ApiClient:
    return clients["viewer"]


@pytest.fixture
def outsider(clients: dict[str, ApiClient], db: None) -> ApiClient:
    return clients["outsider"]


@pytest.fixture
def everything(connections: dict[str, StripeConnection], db: None) -> Any:
    """Return a function that reads all connections and counts the audit records."""

    def read() -> Any:
        with database.cursor() as cursor:
            cursor.execute("SELECT * FROM stripe_connections_stripeconnection ORDER BY id")
            return cursor.fetchall(), LogEntry.objects.count()

    return read


def answer(response: Any) -> tuple[int, bytes]:
    """Return the status, and the body without its time."""
    return response.status_code, re.sub(rb'"timestamp":\d+', b'"timestamp":0', response.content)


def headers(response: Any) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "X-Request-Id"}


def answers(call: Callable[[str], Any], cases: Iterable[str]) -> dict[str, tuple[int, bytes]]:
    return {case: answer(call(case)) for case in cases}


# The roles that may read.
READERS = ALLOWED | {("viewer", "own"), ("manager and viewer", "sibling")}
MORE_MALFORMED = [kind for kind in WORKSPACES if kind.startswith("malformed")][1:]
OPEN = dict.fromkeys(CALLS, ALLOWED) | {"list": READERS, "detail": READERS}
ROLES = [
    "manager", "viewer", "outsider", "manager and viewer", "manager of two", "member of nothing",
    "superuser",
]  # fmt: skip
ELSEWHERE = ["sc_sibling", "sc_other", "sc_inactive", "sc_unknown"]


ONE_QUERY = pytest.mark.only_on("sqlite", reason="all calls make the query of the update call")


def closed_to(call: str, role: str) -> list[str]:
    """The kinds of workspaces in which the role may not make the call."""
    # Only a manager's update call is tested with every malformed ID.
    left_out = [] if (call, role) == ("update", "manager") else MORE_MALFORMED
    return [kind for kind in WORKSPACES if (role, kind) not in OPEN[call] and kind not in left_out]


@pytest.mark.parametrize(
    "call", [pytest.param(c, marks=[] if c in {"list", "update"} else ONE_QUERY) for c in CALLS]
)
@pytest.mark.parametrize("role", ROLES)
def test_caller_without_permission_gets_403(call, role, clients, connections, everything):
    before, kinds = everything(), closed_to(call, role)

    def make(kind):
        # If the workspace exists, the connection does, too.
        target = connections.get(kind, connections["own"])
        return clients[role].call(call, target.biz_id, WORKSPACES[kind])

    assert answers(make, kinds) == dict.fromkeys(kinds, FORBIDDEN)
    assert everything() == before


@pytest.mark.parametrize("call", CALLS)
def test_caller_with_permission_succeeds(call, clients, connections, stripe, db):
    def status_of(role, kind):
        with transaction.atomic():
            response = clients[role].call(call, connections[kind].biz_id, WORKSPACES[kind])
            # Otherwise the next caller could not restore the same secret.
            transaction.set_rollback(True)
        return response.status_code

    found = {pair: status_of(*pair) for pair in OPEN[call]}
    assert found == dict.fromkeys(OPEN[call], 200)


@pytest.mark.parametrize("call", [call for call in CALLS if call not in {"list", "create"}])
def test_calls_find_no_connection_of_another_workspace(
    call, manager, connections, everything, stripe
):
    before = everything()

    found = answers(lambda biz_id: manager.call(call, biz_id), ELSEWHERE)

    assert found == dict.fromkeys(ELSEWHERE, NOT_FOUND)
    assert everything() == before
    assert not stripe.keys


@pytest.mark.parametrize("call", CALLS)
def test_calls_need_as_many_queries_for_a_forbidden_workspace_as_for_an_unknown_one(
    call, outsider, connections
):
    def queries(workspace_id):
        with CaptureQueriesContext(database) as captured:
            outsider.call(call, "sc_demo", workspace_id)
        return len(captured)

    kinds = ("own", "sibling", "inactive")
    found = {kind: queries(WORKSPACES[kind]) for kind in kinds}

    assert found == dict.fromkeys(kinds, queries("ws_unknown"))


def test_list_has_only_the_connections_of_the_workspace(manager, connections):
    items = manager.call("list").json()["data"]["items"]

    assert [item["bizId"] for item in items] == ["sc_demo"]


def test_page_cannot_start_after_a_connection_of_another_workspace(manager, connections):
    """The response is the same as for an unknown connection."""
    reference = manager.read(query={"after": "sc_nothere"})

    found = answers(lambda biz_id: manager.read(query={"after": biz_id}), ELSEWHERE)

    assert reference.status_code == 400
    assert found == dict.fromkeys(ELSEWHERE, answer(reference))


def test_created_connection_belongs_to_the_workspace_in_the_path(manager, connections, world):
    body = {"connectionName": "Here", "tenantBizId": "tn_other", "bizId": "sc_other"}

    response = manager.post(f"{connections_path()}/create", body, content_type="application/json")

    created = StripeConnection.objects.get(connection_name="Here")
    assert response.json()["data"]["tenantBizId"] == "tn_xyz789"
    assert created.workspace == world["own"]
    assert created.biz_id not in {"sc_other", "sc_demo"}


STRANGE = [
    "SC_DEMO", "sc_Demo", "sc_dem", "sc_demo%", "sc_*", "ws_demo", "1", "*", "' OR 1=1 --",
    "x" * 64, "sc_" + "a" * 61, "sc_é", "\u017fc_demo",
]  # fmt: skip


@pytest.mark.parametrize("changes", [{"connectionName": "Taken"}, {}], ids=["change", "look"])
def test_connection_of_another_workspace_is_not_found(changes, manager, connections, everything):
    before, biz_ids = everything(), [*ELSEWHERE, *STRANGE]

    found = answers(lambda biz_id: manager.update({"connectionBizId": biz_id} | changes), biz_ids)

    assert found == dict.fromkeys(biz_ids, NOT_FOUND)
    assert everything() == before


def test_deleted_connection_is_not_found(manager, connections):
    StripeConnection.objects.filter(pk=connections["own"].pk).delete()

    response = manager.update({"connectionBizId": "sc_demo", "connectionName": "Back"})

    assert answer(response) == NOT_FOUND


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"connectionName": "Taken"},
        {"connectionName": 1, "apiKey": "pk"},
        {"apikey": random_api_key()},
    ],
    ids=["nothing", "name", "bad fields", "unknown field"],
)
def test_response_to_a_viewer_does_not_depend_on_the_body(body, viewer, connections, everything):
    before, biz_ids = everything(), ["sc_demo", *ELSEWHERE]

    found = answers(lambda biz_id: viewer.update({"connectionBizId": biz_id} | body), biz_ids)

    assert found == dict.fromkeys(biz_ids, FORBIDDEN)
    assert everything() == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", {"connectionBizId": "sc_demo"}], ids=repr)
def test_forbidden_workspaces_cannot_be_distinguished(body, outsider, connections):
    def shown(biz_id):
        response = outsider.update(body, biz_id)
        return answer(response), headers(response)

    kinds = [kind for kind in WORKSPACES if kind != "other tenant"]
    found = {kind: shown(WORKSPACES[kind]) for kind in kinds}

    assert found == dict.fromkeys(kinds, shown("ws_unknown"))


def test_if_match_reveals_nothing_of_another_workspace(manager, connections):
    response = manager.update(
        {"connectionBizId": "sc_other", "connectionName": "Taken"}, headers={"if-match": '"999"'}
    )

    assert answer(response) == NOT_FOUND


def test_body_cannot_move_a_connection_to_another_workspace(manager, connections, world):
    response = manager.update(
        {
            "connectionBizId": "sc_demo",
            "bizId": "sc_other",
            "tenantBizId": "tn_other",
            "connectionName": "Here",
        }
    )

    row = StripeConnection.objects.get(pk=connections["own"].pk)
    assert response.json()["data"]["tenantBizId"] == "tn_xyz789"
    assert row.workspace == world["own"]
    assert StripeConnection.objects.get(biz_id="sc_other").connection_name == "Stripe Connection"


@pytest.mark.parametrize(
    "body",
    [
        b'{"createdAt": {"connectionBizId": "sc_sister"}, "connectionBizId": "sc_abc123", %s}',
        b'{"createdAt":{"connectionBizId":"sc_sister"},"connectionB\\u0069zId":"sc_abc123",%s}',
    ],
)
@pytest.mark.parametrize("change", [b'"connectionName": "New"', b'"status": 0'])
def test_connection_named_in_an_ignored_field_is_not_changed(
    manager, connection, workspace, make_connection, stored, body, change
):
    """The service reads the connection before it parses the body, and may find the wrong one."""
    sister = make_connection(workspace, "sc_sister")
    before = stored(sister)

    response = manager.update(body % change)

    assert (response.status_code, response.json()["data"]["bizId"]) == (200, "sc_abc123")
    assert stored(sister) == before


def test_version_of_a_connection_named_in_an_ignored_field_does_not_match(
    manager, connection, workspace, make_connection, assert_refused
):
    sister = make_connection(workspace, "sc_sister")
    set_columns(sister, version=7)
    body = {"createdAt": {"connectionBizId": "sc_sister"}, "connectionBizId": "sc_abc123"}

    response = manager.update(body | {"connectionName": "New"}, headers={"If-Match": '"7"'})

    assert_refused(response, 412, "4120")
