"""The update call accepts the data of list, detail and update with one changed field."""

import pytest

from stripe_connections.models import Status
from tests.conftest import errors_of, random_api_key, set_columns

SECRETS = {
    f"{secret}{suffix}"
    for secret in ("api_key", "webhook_secret")
    for suffix in ("", "_hint", "_fingerprint", "_replaced_at")
}
SENT = {
    "connectionName": ("connection_name", "New"),
    "connectionDescription": ("connection_description", ""),
    "stripeAccountId": ("stripe_account_id", "acct_new"),
    "partnerEndpoint": ("partner_endpoint", "https://new.example.com/"),
    "configJson": ("config_json", '{"a": 1}'),
}


@pytest.fixture(params=["list", "detail", "update", "detail by another name"])
def shown(request, viewer, manager, connection):
    """The data that the call returns."""
    detail = viewer.read("/sc_abc123").json()["data"]
    return {
        "list": viewer.read().json()["data"]["items"][0],
        "detail": detail,
        "update": manager.update({"connectionBizId": "sc_abc123"}).json()["data"]
        | {"connectionBizId": "sc_abc123"},
        "detail by another name": detail | {"connectionBizId": "sc_abc123"},
    }[request.param]


def test_data_of_every_call_can_be_sent_back(manager, connection, stored, shown):
    set_columns(connection, status=Status.INACTIVE)
    before = stored(connection)

    response = manager.update(shown | {"connectionName": "New"})

    after = stored(connection)
    data = response.json()["data"]
    assert (response.status_code, data["connectionName"]) == (200, "New")
    assert data["status"] == Status.INACTIVE
    assert {name for name in after if after[name] != before[name]} == {
        "connection_name", "version", "updated_at",
    }  # fmt: skip


@pytest.mark.parametrize(("field", "sent"), SENT.items(), ids=SENT)
def test_only_the_changed_field_is_written(manager, viewer, connection, stored, field, sent):
    column, value = sent
    shown, before = viewer.read("/sc_abc123").json()["data"], stored(connection)

    response = manager.update(shown | {field: value})

    after = stored(connection)
    assert (response.status_code, response.json()["data"][field]) == (200, value)
    assert {name for name in after if after[name] != before[name]} == {
        column, "version", "updated_at",
    }  # fmt: skip
    assert {name: after[name] for name in SECRETS} == {name: before[name] for name in SECRETS}


def test_nulls_stay_null(manager, viewer, connection, stored):
    set_columns(
        connection,
        **dict.fromkeys(column for column, _ in SENT.values() if column != "connection_name"),
    )
    before = stored(connection)

    response = manager.update(viewer.read("/sc_abc123").json()["data"] | {"connectionName": "New"})

    after = stored(connection)
    assert response.status_code == 200
    assert {name for name in after if after[name] != before[name]} == {
        "connection_name", "version", "updated_at",
    }  # fmt: skip


def test_new_key_can_be_added(manager, viewer, connection, stored):
    shown, before = viewer.read("/sc_abc123").json()["data"], stored(connection)

    response = manager.update(shown | {"apiKey": random_api_key()})

    after = stored(connection)
    assert response.status_code == 200
    assert after["api_key"] != before["api_key"]
    assert after["webhook_secret"] == before["webhook_secret"]


def test_etag_of_detail_is_valid_for_if_match(manager, viewer, connection, stored):
    response = viewer.read("/sc_abc123")
    body = response.json()["data"] | {"connectionName": "New"}
    tag = {"If-Match": response["ETag"]}

    assert manager.update(body, headers=tag).status_code == 200
    after = stored(connection)
    assert manager.update(body, headers=tag).status_code == 412
    assert stored(connection) == after


@pytest.mark.usefixtures("untouched")
def test_extra_is_ignored(manager):
    extras = [None, {}, [], "x", {"version": 99}, {"apiKeyHint": "sk_live_…"}]
    bodies = [{"connectionBizId": "sc_abc123", "extra": extra} for extra in extras]

    assert [manager.update(body).status_code for body in bodies] == [200] * 6


BAD_IDS = [
    ({"bizId": "sc_abc123"}, "connectionBizId", "required"),
    ({"extra": {}}, "connectionBizId", "required"),
    ({"bizId": None, "extra": {}}, "bizId", "null"),
    ({"bizId": "", "extra": {}}, "bizId", "blank"),
    ({"bizId": 1, "extra": {}}, "bizId", "invalid_type"),
    ({"bizId": "x" * 65, "extra": {}}, "bizId", "max_length"),
    ({"bizId": "sc_abc123", "connectionBizId": None, "extra": {}}, "connectionBizId", "null"),
    ({"bizId": "sc_abc123", "extra": "\0"}, "extra", "invalid_characters"),
    ({"bizId": "sc_abc123", "extra": {"a": ["\ud800"]}}, "extra", "invalid_characters"),
    ({"bizId": "sc_abc123", "extras": {}, "extra": {}}, "extras", "unknown"),
]


@pytest.mark.usefixtures("untouched")
def test_missing_or_malformed_id_is_refused(manager):
    found = [errors_of(manager.update(body | {"connectionName": "New"})) for body, *_ in BAD_IDS]

    assert found == [(400, [(field, code)]) for _, field, code in BAD_IDS]


def test_connection_biz_id_has_priority_over_biz_id(
    manager, connection, workspace, make_connection, stored
):
    sister = make_connection(workspace, "sc_sister")
    before = stored(sister)

    response = manager.update(
        {"bizId": "sc_sister", "extra": {}, "connectionBizId": "sc_abc123", "connectionName": "N"}
    )

    assert response.json()["data"]["bizId"] == "sc_abc123"
    assert stored(sister) == before


def test_data_of_a_connection_in_another_workspace_is_404(
    manager, connection, other_workspace, make_connection, stored
):
    other = make_connection(other_workspace, "sc_other")
    before = stored(other)

    response = manager.update({"bizId": "sc_other", "extra": {}, "connectionName": "Taken"})

    assert (response.status_code, response.json()["code"]) == (404, "4040")
    assert stored(other) == before
