"""Two users change one connection: neither overwrites a change that they have not seen."""

import pytest

from tests.conftest import random_api_key
from tests.stripe_connections.admin.conftest import change_url, text

ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the form")


@pytest.fixture
def opened(staff, connection):
    """The form, opened before the customer changes name and key with the API."""
    return staff.form(change_url(connection))


@pytest.fixture
def meanwhile(opened, manager):
    response = manager.update(
        {
            "connectionBizId": "sc_abc123",
            "connectionName": "By the customer",
            "apiKey": random_api_key(),
        }
    )
    return response.json()["data"]


def test_connection_that_changed_meanwhile_is_not_overwritten(
    unrendered, staff, connection, opened, meanwhile, stored
):
    before = stored(connection)

    response = staff.post(change_url(connection), opened | {"connection_name": "By staff"})

    assert response.status_code == 200
    assert stored(connection) == before


@ONE_DATABASE
def test_page_shows_who_changed_what(staff, connection, opened, meanwhile):
    page = text(staff.post(change_url(connection), opened | {"connection_name": "By staff"}))

    connection.refresh_from_db()
    assert "Somebody else changed this connection" in page
    assert "manager" in page
    assert "By the customer" in page
    assert f"replaced {connection.api_key_hint}" in page


@ONE_DATABASE
def test_typed_values_are_kept_except_secrets(staff, connection, opened, meanwhile):
    secret = random_api_key()
    typed = {"connection_name": "By staff", "connection_description": "Typed", "api_key": secret}

    response = staff.post(change_url(connection), opened | typed)

    values = {bound.name: bound.value() for bound in response.context_data["adminform"].form}
    assert values["connection_name"] == "By staff"
    assert values["connection_description"] == "Typed"
    assert list(response.context_data["adminform"].form.errors) == ["__all__", "api_key"]
    assert secret not in text(response)


@ONE_DATABASE
def test_unchanged_fields_show_the_current_value(unrendered, staff, connection, opened, meanwhile):
    response = staff.post(change_url(connection), opened | {"connection_description": "Typed"})

    values = {bound.name: bound.value() for bound in response.context_data["adminform"].form}
    assert values["connection_name"] == "By the customer"
    assert values["connection_description"] == "Typed"


@ONE_DATABASE
def test_saving_again_keeps_the_other_change(
    unrendered, staff, connection, opened, meanwhile, stored
):
    response = staff.post(change_url(connection), opened | {"connection_description": "Typed"})
    form = response.context_data["adminform"].form
    again = {bound.html_name: bound.value() or "" for bound in form}

    saved = staff.post(change_url(connection), again)

    after = stored(connection)
    assert saved.status_code == 302
    assert after["connection_name"] == "By the customer"
    assert after["connection_description"] == "Typed"
    assert after["version"] == 3


def test_typed_fields_are_detected_after_several_other_changes(
    unrendered, staff, connection, opened, manager
):
    for name in ("Second", "Third"):
        manager.update({"connectionBizId": "sc_abc123", "connectionName": name})

    response = staff.post(change_url(connection), opened | {"status": "0"})

    values = {bound.name: bound.value() for bound in response.context_data["adminform"].form}
    assert values["connection_name"] == "Third"
    assert values["status"] == "0"


@ONE_DATABASE
def test_bad_value_and_conflict_are_both_shown(staff, connection, opened, meanwhile):
    page = text(staff.post(change_url(connection), opened | {"config_json": "["}))

    assert "Somebody else changed this connection" in page
    assert "Must be valid JSON." in page


def test_form_posted_twice_is_saved_once_without_a_conflict(
    unrendered, staff, connection, opened, stored
):
    typed = {"connection_name": "By staff", "api_key": random_api_key(), "status": "0"}
    first = staff.post(change_url(connection), opened | typed)
    before = stored(connection)

    second = staff.post(change_url(connection), opened | typed)

    assert (first.status_code, second.status_code) == (302, 302)
    assert stored(connection) == before
    assert before["version"] == 2


@ONE_DATABASE
def test_another_key_is_a_conflict_even_if_other_fields_are_equal(
    unrendered, staff, connection, opened, stored
):
    staff.post(change_url(connection), opened | {"api_key": random_api_key()})
    before = stored(connection)

    response = staff.post(change_url(connection), opened | {"api_key": random_api_key()})

    assert response.status_code == 200
    assert stored(connection) == before


def test_form_with_a_wrong_version_saves_nothing(unrendered, staff, connection, opened, stored):
    before = stored(connection)
    typed = opened | {"connection_name": "New"}

    responses = [
        staff.post(change_url(connection), typed | {"seen_version": seen})
        for seen in ("", "x", "99", "9" * 30)
    ]

    assert [response.status_code for response in responses] == [200] * 4
    assert stored(connection) == before
