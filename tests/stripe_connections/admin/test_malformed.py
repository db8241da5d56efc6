"""Malformed requests to the admin never cause a 500, on either database."""

import pytest

from tests.stripe_connections.admin.conftest import LIST, change_url
from tests.stripe_connections.admin.test_restore import restore_url
from tests.stripe_connections.undo.conftest import current, replaced

__all__ = ["replaced"]

SUGGESTIONS = "/admin/autocomplete/?app_label={}&model_name={}&field_name={}&term=%00"
REFUSED = {200, 302, 400, 404}


@pytest.mark.parametrize(
    "url",
    [
        f"{LIST}?q=%00",
        f"{LIST}?verification__exact=%00",
        f"{LIST}%00/change/",
        f"{LIST}1/restore/2/%00/",
        SUGGESTIONS.format("workspaces", "membership", "user"),
        SUGGESTIONS.format("workspaces", "workspace", "tenant"),
        SUGGESTIONS.format("stripe_connections", "stripeconnection", "workspace"),
        SUGGESTIONS.format("stripe_connections", "replacedsecret", "connection"),
    ],
)
def test_nul_in_a_url_is_not_a_server_error(admin_client, connection, url):
    assert admin_client.get(url, secure=True).status_code in REFUSED


@pytest.mark.parametrize("more", [{}, {"from_form": "yes"}, {"select_across": "1"}])
@pytest.mark.parametrize("key", ["", "x", "\0", "-1", "²", "9" * 30, "9" * 5_000, "987654321"])
@pytest.mark.parametrize("url", [LIST, "/admin/auth/user/"])
def test_action_on_a_missing_row_is_not_a_server_error(admin_client, connection, url, key, more):
    action = {LIST: "deactivate"}.get(url, "delete_selected")
    data = {"action": action, "_selected_action": key}

    assert admin_client.post(url, data | more, secure=True).status_code in REFUSED


@pytest.mark.parametrize("seen", ["", "x", "-2", "²", "1", "9" * 5_000])
def test_restore_with_a_wrong_version_changes_nothing(staff, replaced, seen):
    connection, _, new = replaced

    assert staff.post(restore_url(connection), {"seen_version": seen}).status_code in REFUSED
    assert current() == new
    assert staff.get(change_url(connection)).status_code == 200
