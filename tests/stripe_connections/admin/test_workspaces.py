"""Tenants, workspaces and their members."""

import pytest
from django.urls import reverse

from tests.stripe_connections.admin.conftest import text
from workspaces.models import Membership, Tenant, Workspace


@pytest.fixture
def keeper(make_staff):
    return make_staff(
        "keeper",
        *(f"{verb}_{model}" for model in ("tenant", "workspace") for verb in ("add", "change")),
        *(f"{verb}_membership" for verb in ("add", "change", "delete", "view")),
        "view_tenant", "view_workspace", "view_user",
    )  # fmt: skip


def url(workspace):
    return reverse("admin:workspaces_workspace_change", args=[workspace.pk])


def members(total, initial, **fields):
    form = {"memberships-TOTAL_FORMS": total, "memberships-INITIAL_FORMS": initial}
    return form | {f"memberships-0-{name}": value for name, value in fields.items()}


def test_member_is_added(keeper, workspace, make_user):
    user = make_user("new")

    response = keeper.post(
        url(workspace),
        {"name": "Demo", "is_active": "on"} | members(1, 0, user=user.pk, role="manager"),
    )

    assert response.status_code == 302
    assert Membership.objects.get().user == user


def test_member_is_removed(keeper, workspace, make_user):
    user = make_user("old", workspace)
    row = {"id": Membership.objects.get().pk, "workspace": workspace.pk, "DELETE": "on"}

    keeper.post(
        url(workspace),
        {"name": "Demo"} | members(1, 1, user=user.pk, role="manager", **row),
    )

    assert not Membership.objects.exists()


def test_roles_are_explained(keeper, workspace, make_user):
    make_user("somebody", workspace)

    page = text(keeper.get(url(workspace)))

    assert "Manager: sees the workspace&#x27;s connections and changes them over the API" in page
    assert "Viewer: sees them and changes nothing" in page


@pytest.mark.parametrize(
    ("app", "model", "field", "term"),
    [
        ("workspaces", "workspace", "tenant", "Exam"),
        ("workspaces", "membership", "user", "keep"),
    ],
)
def test_related_rows_are_found_by_typing(keeper, workspace, app, model, field, term):
    query = {"app_label": app, "model_name": model, "field_name": field, "term": term}

    assert len(keeper.get("/admin/autocomplete/", query).json()["results"]) == 1


def test_workspace_stays_with_its_tenant(keeper, workspace, other_workspace):
    keeper.post(
        url(workspace), {"name": "New", "tenant": other_workspace.tenant.pk} | members(0, 0)
    )

    workspace.refresh_from_db()
    assert (workspace.name, workspace.tenant.biz_id) == ("New", "tn_xyz789")


def test_workspace_and_tenant_are_added(keeper):
    keeper.post(reverse("admin:workspaces_tenant_add"), {"name": "Third"})
    tenant = Tenant.objects.get()
    keeper.post(
        reverse("admin:workspaces_workspace_add"),
        {"name": "Fourth", "tenant": tenant.pk, "is_active": "on"} | members(0, 0),
    )

    assert tenant.biz_id.startswith("tn_")
    assert Workspace.objects.get().biz_id.startswith("ws_")


@pytest.mark.parametrize("model", ["tenant", "workspace"])
def test_nobody_deletes_them(superuser, workspace, model):
    path = reverse(f"admin:workspaces_{model}_delete", args=[workspace.pk])

    response = superuser.post(path, {"post": "yes"})

    assert response.status_code == 403
    assert Workspace.objects.filter(pk=workspace.pk).exists()
