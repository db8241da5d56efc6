"""Tenants, workspaces and their members."""

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from stripe_connections.models import StripeConnection
from tests.stripe_connections.admin.conftest import LIST, change_url, text
from workspaces.models import Membership, Tenant, Workspace

ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the pages")


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


@ONE_DATABASE
def test_member_is_removed(keeper, workspace, make_user):
    user = make_user("old", workspace)
    row = {"id": Membership.objects.get().pk, "workspace": workspace.pk, "DELETE": "on"}

    keeper.post(
        url(workspace),
        {"name": "Demo"} | members(1, 1, user=user.pk, role="manager", **row),
    )

    assert not Membership.objects.exists()


@ONE_DATABASE
def test_roles_are_explained(keeper, workspace, make_user):
    make_user("somebody", workspace)

    page = text(keeper.get(url(workspace)))

    assert "Manager: sees the connections and changes them over the API" in page
    assert "Viewer: sees the connections and changes nothing" in page


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


@ONE_DATABASE
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


@ONE_DATABASE
@pytest.mark.parametrize("model", ["tenant", "workspace"])
def test_tenant_and_workspace_cannot_be_deleted(superuser, workspace, model):
    path = reverse(f"admin:workspaces_{model}_delete", args=[workspace.pk])

    response = superuser.post(path, {"post": "yes"})

    assert response.status_code == 403
    assert Workspace.objects.filter(pk=workspace.pk).exists()


def tenant_url(tenant):
    return reverse("admin:workspaces_tenant_change", args=[tenant.pk])


def test_forged_tenant_or_member_is_an_error_of_the_form(unrendered, keeper, workspace):
    add, keys = reverse("admin:workspaces_workspace_add"), ("x", "\0", "9" * 30, "-1")
    added = [{"name": "New", "tenant": key} | members(0, 0) for key in keys]
    changed = [{"name": "Demo"} | members(1, 0, user=key, role="manager") for key in keys]

    responses = [keeper.post(add, form) for form in added]
    responses += [keeper.post(url(workspace), form) for form in changed]

    assert [response.status_code for response in responses] == [200] * 8
    assert not Membership.objects.exists()


@ONE_DATABASE
def test_tenant_lists_its_workspaces(keeper, workspace, other_workspace):
    page = text(keeper.get(tenant_url(workspace.tenant)))

    assert f'<a href="{url(workspace)}">Demo (ws_demo)</a>' in page
    assert "ws_other" not in page
    assert 'href="/admin/workspaces/workspace/?q=tn_xyz789"' in page


@ONE_DATABASE
def test_workspace_lists_its_connections_and_members(
    superuser, workspace, connection, other_workspace, make_connection, make_user
):
    make_connection(other_workspace, "sc_other1")
    make_user("somebody", workspace)

    page = text(superuser.get(url(workspace)))

    assert f'<a href="{change_url(connection)}">Stripe Connection (sc_abc123)</a>' in page
    assert "sc_other1" not in page
    assert f'href="{LIST}?q=ws_demo"' in page
    assert "somebody" in page


@ONE_DATABASE
def test_workspace_shows_no_connections_to_those_who_may_not_view_them(keeper, connection):
    assert "sc_abc123" not in text(keeper.get(url(connection.workspace)))


@pytest.mark.parametrize("rows", [1, 60])
def test_page_of_a_workspace_costs_the_same_few_queries(superuser, workspace, rows):
    StripeConnection.objects.bulk_create(
        StripeConnection(workspace=workspace, connection_name=f"{n}") for n in range(rows)
    )

    with CaptureQueriesContext(database) as queries:
        page = text(superuser.get(url(workspace)))

    assert page.count("(sc_") == min(rows, 50)
    assert len([query for query in queries if query["sql"].startswith("SELECT")]) <= 6
