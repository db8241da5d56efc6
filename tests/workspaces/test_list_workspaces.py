"""The list of the caller's workspaces, with the role and permissions in each."""

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from tests.conftest import ApiClient
from workspaces.models import Membership, Role, Workspace

PATH = "/web/v1/workspaces"
DEMO = {
    "bizId": "ws_demo",
    "name": "Demo",
    "tenantBizId": "tn_xyz789",
    "tenantName": "Example Ltd",
    "role": "manager",
    "permissions": ["workspace:manage", "workspace:read"],
}


def ids(response):
    return [item["bizId"] for item in response.json()["data"]["items"]]


@pytest.fixture
def add(tenant):
    """Return a function that makes a user a member of new workspaces."""

    def run(username, *biz_ids, role=Role.VIEWER, is_active=True):
        user = User.objects.get(username=username)
        for biz_id in biz_ids:
            place = Workspace.objects.create(
                biz_id=biz_id, tenant=tenant, name=biz_id, is_active=is_active
            )
            Membership.objects.create(user=user, workspace=place, role=role)

    return run


def test_manager_sees_the_workspace_and_the_permissions(manager):
    response = manager.get(PATH)

    assert response.status_code == 200
    assert response.json()["data"] == {"items": [DEMO], "nextAfter": None}


def test_viewer_may_only_read(viewer):
    [item] = viewer.get(PATH).json()["data"]["items"]

    assert (item["role"], item["permissions"]) == ("viewer", ["workspace:read"])


@pytest.mark.parametrize(
    ("who", "expected"), [("manager", ["ws_demo"]), ("outsider", ["ws_other"])]
)
def test_only_own_workspaces_are_listed(request, who, expected, manager, viewer, outsider):
    assert ids(request.getfixturevalue(who).get(PATH)) == expected


@pytest.mark.parametrize("is_superuser", [True, False])
def test_list_is_empty_without_memberships(make_user, workspace, is_superuser):
    user = make_user("nobody")
    user.is_superuser = user.is_staff = is_superuser
    user.save()

    data = ApiClient(user).get(PATH).json()["data"]

    assert data == {"items": [], "nextAfter": None}


def test_inactive_workspace_is_not_listed(manager, add):
    add("manager", "ws_closed", role=Role.MANAGER, is_active=False)

    assert ids(manager.get(PATH)) == ["ws_demo"]


def test_pages_follow_each_other(manager, add):
    add("manager", "ws_2", "ws_3")

    first = manager.get(PATH, {"limit": "2"})
    after = first.json()["data"]["nextAfter"]
    second = manager.get(PATH, {"limit": "2", "after": after})

    assert (ids(first), after) == (["ws_demo", "ws_2"], "ws_2")
    assert (ids(second), second.json()["data"]["nextAfter"]) == (["ws_3"], None)


def test_page_may_start_after_a_workspace_that_became_inactive(manager, add):
    add("manager", "ws_2", "ws_3")
    Workspace.objects.filter(biz_id="ws_2").update(is_active=False)

    assert ids(manager.get(PATH, {"after": "ws_2"})) == ["ws_3"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("after=ws_other", ("after", "not_found")),
        ("after=ws_unknown", ("after", "not_found")),
        ("after=", ("after", "blank")),
        ("after=%00", ("after", "invalid_characters")),
        ("limit=0", ("limit", "out_of_range")),
        ("limit=101", ("limit", "out_of_range")),
        ("page=2", ("page", "unknown")),
        ("limit=1&limit=1", (None, "duplicate")),
    ],
)
def test_bad_query_is_refused(manager, outsider, query, error):
    response = manager.get(f"{PATH}?{query}")

    [found] = response.json()["errors"]
    assert response.status_code == 400
    assert (found["field"], found["code"]) == error


@pytest.mark.parametrize("token", ["", "Bearer nonsense"])
def test_call_without_a_token_is_401(db, token):
    response = ApiClient().get(PATH, headers={"Authorization": token})

    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_other_method_is_405(manager, method):
    response = manager.generic(method, PATH)

    assert (response.status_code, response["Allow"]) == (405, "GET")


@pytest.mark.parametrize(("query", "count"), [({}, 2), ({"after": "ws_demo"}, 3)])
@pytest.mark.parametrize("more", [1, 5])
def test_number_of_queries_does_not_depend_on_the_number_of_workspaces(
    manager, add, query, count, more
):
    add("manager", *(f"ws_{number}" for number in range(more)))

    with CaptureQueriesContext(database) as captured:
        assert manager.get(PATH, query).status_code == 200

    assert len(captured) == count


def test_rate_limit_is_per_user(settings, manager, viewer):
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {
        "DEFAULT_THROTTLE_RATES": {"user": "2/day"}
    }

    assert [manager.get(PATH).status_code for _ in range(3)] == [200, 200, 429]
    assert viewer.get(PATH).status_code == 200
