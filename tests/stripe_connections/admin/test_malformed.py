"""Malformed requests to the admin never cause a 500, on either database."""

import pytest

from tests.stripe_connections.admin.conftest import LIST

USERS = "/admin/auth/user/"
KEYS = ("", "x", "\0", "-1", "²", "9" * 30, "9" * 5_000, "987654321")
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


@pytest.mark.parametrize(
    ("url", "action", "more"),
    [
        (LIST, "deactivate", {}),
        (LIST, "deactivate", {"from_form": "yes"}),
        (LIST, "deactivate", {"select_across": "1"}),
        (USERS, "delete_selected", {}),
        (USERS, "delete_selected", {"select_across": "1"}),
    ],
)
def test_action_on_a_missing_row_is_not_a_server_error(admin_client, connection, url, action, more):
    forms = [{"action": action, "_selected_action": key} | more for key in KEYS]

    found = {admin_client.post(url, form, secure=True).status_code for form in forms}

    assert found <= REFUSED
