"""The portal code: requests that bypass Nginx are refused."""

import hmac
from unittest.mock import patch

import pytest

from tests.conftest import ApiClient, update_path

pytestmark = pytest.mark.only_on("sqlite", reason="the code is checked before the database")

NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}


@pytest.mark.parametrize("sent", [{}, {"X-PORTAL-ACCESS-CODE": ""}, {"X-PORTAL-ACCESS-CODE": "x"}])
def test_every_request_is_accepted_without_the_setting(manager, connection, settings, sent):
    settings.PORTAL_ACCESS_CODE = ""

    assert manager.update(NAMED, headers=sent).status_code == 200


@pytest.mark.parametrize("name", ["X-PORTAL-ACCESS-CODE", "x-portal-access-code"])
@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        ("code-one", "code-one"),
        ("code-one,code-two", "code-one"),
        ("code-one,code-two", "code-two"),
        (" code-one , code-two ", "code-two"),
        ("code-one,,", "code-one"),
        ("cödé", "cödé".encode().decode("latin-1")),
    ],
)
def test_each_of_the_codes_is_accepted(manager, connection, settings, configured, sent, name):
    settings.PORTAL_ACCESS_CODE = configured

    assert manager.update(NAMED, headers={name: sent}).status_code == 200


@pytest.mark.parametrize(
    ("configured", "headers"),
    [
        ("code-one", {}),
        ("code-one", {"X-PORTAL-ACCESS-CODE": ""}),
        ("code-one", {"X-PORTAL-ACCESS-CODE": "code-tw"}),
        ("code-one", {"X-PORTAL-ACCESS-CODE": "code-one2"}),
        ("code-one", {"X-PORTAL-ACCESS-CODE": "code-on"}),
        ("code-one", {"X-PORTAL-ACCESS-CODE": "CODE-ONE"}),
        ("code-one", {"X-PORTAL-ACCESS-CODE": "cöde-one"}),
        ("code-one", {"X-PORTAL-ACCESS-CODE": "\xff\xfe"}),
        ("code-one", {"PORTAL-ACCESS-CODE": "code-one"}),
        ("code-one,code-two", {"X-PORTAL-ACCESS-CODE": "code-one,code-two"}),
        ("code-one,code-two", {"X-PORTAL-ACCESS-CODE": "code-one, code-two"}),
        ("code-one,", {"X-PORTAL-ACCESS-CODE": ""}),
        (",", {}),
        (",", {"X-PORTAL-ACCESS-CODE": ""}),
        (" , ", {"X-PORTAL-ACCESS-CODE": " "}),
        ("cödé", {"X-PORTAL-ACCESS-CODE": "cödé"}),
    ],
    ids=range(16),
)
def test_any_other_code_is_403(manager, assert_refused, settings, configured, headers):
    settings.PORTAL_ACCESS_CODE = configured

    response = manager.update(NAMED, headers=headers)

    body = assert_refused(response, 403, "4030")
    assert body["message"] == "Forbidden"


@pytest.mark.parametrize(
    "path", ["/web/v1/auth/token", "/web/v1/auth/token/refresh", "/web/", "/web/v1/unknown"]
)
def test_every_path_of_the_api_needs_the_code(db, settings, path):
    settings.PORTAL_ACCESS_CODE = "code-one"

    response = ApiClient().post(path, {}, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (403, "4030")


@pytest.mark.parametrize("sent", ["code-one", "code-two", "none"])
def test_every_code_is_compared_in_constant_time(manager, connection, settings, sent):
    settings.PORTAL_ACCESS_CODE = "code-one,code-two"

    with patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compare:
        manager.get(update_path(), headers={"X-PORTAL-ACCESS-CODE": sent})

    compared = [call.args for call in compare.call_args_list]
    assert compared[:2] == [(sent.encode(), b"code-one"), (sent.encode(), b"code-two")]


def test_response_does_not_contain_the_code(manager, connection, settings):
    settings.PORTAL_ACCESS_CODE = "code-one"

    response = manager.update(NAMED, headers={"X-PORTAL-ACCESS-CODE": "code-one"})

    assert b"code-one" not in response.serialize()
