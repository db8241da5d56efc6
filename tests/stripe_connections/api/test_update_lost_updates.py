"""`ETag` and `If-Match` prevent lost updates."""

import pytest
from auditlog.models import LogEntry
from django.db import connection as database

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from tests.conftest import set_columns, update_path

NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}


@pytest.fixture
def at_version_3(manager, connection):
    """The connection after two writes."""
    manager.update(NAMED)
    manager.update(NAMED)


def test_etag_is_the_version_and_increases_with_every_write(manager, connection):
    etags = [manager.update(NAMED)["ETag"] for _ in range(3)]

    assert etags == ['"2"', '"3"', '"4"']


def test_etag_of_a_response_is_valid_for_the_next_update(manager, connection):
    etag = manager.update(NAMED)["ETag"]

    response = manager.update(NAMED, headers={"If-Match": etag})

    assert response.status_code == 200
    assert response["ETag"] == '"3"'


def test_second_update_with_the_same_etag_is_refused(manager, connection):
    etag = manager.update(NAMED)["ETag"]

    first = manager.update(NAMED | {"connectionName": "First"}, headers={"If-Match": etag})
    second = manager.update(NAMED | {"connectionName": "Second"}, headers={"If-Match": etag})

    assert (first.status_code, second.status_code) == (200, 412)
    connection.refresh_from_db()
    assert connection.connection_name == "First"


MATCHING = [
    '"3"',
    'W/"3"',
    ' "3" ',
    "*",
    " * ",
    '"1", "3"',
    '"1","2","3","4"',
    '"3", "x"',
    '"x", W/"3"',
    'W/"1",\tW/"3"',
    ', "3",',
    '"18446744073709551616", "3"',
]


def test_update_with_a_matching_if_match_succeeds(manager, connection):
    def update(if_match):
        set_columns(connection, version=3)
        response = manager.update(NAMED, headers={"If-Match": if_match})
        return response.status_code, response.get("ETag")

    assert {sent: update(sent) for sent in MATCHING} == dict.fromkeys(MATCHING, (200, '"4"'))


OTHERS = [
    "",
    " ",
    ",",
    '"1"',
    '"2"',
    '"4"',
    '"1", "2"',
    "3",
    "W/3",
    'w/"3"',
    'W/ "3"',
    '"3',
    '3"',
    "'3'",
    '""',
    '"03"',
    '"+3"',
    '"3.0"',
    '" 3"',
    '"3 "',
    '"-3"',
    '"٣"',
    '"0"',
    '"*"',
    '**, "2"',
    '"2", *',
    '*, "2"',
    '"3";q=1',
    '"3" "4"',
    '"33"',
    '"9223372036854775808"',
    '"99999999999999999999999999"',
    "x" * 5_000,
    '"2",' * 1_000,
]


def test_update_with_another_if_match_is_refused(manager, at_version_3, connection, stored):
    before = stored(connection)

    found = {
        sent: manager.update(NAMED | {"connectionName": "Other"}, HTTP_IF_MATCH=sent).json()["code"]
        for sent in OTHERS
    }

    assert found == dict.fromkeys(OTHERS, "4120")
    assert stored(connection) == before


@pytest.mark.parametrize(("if_match", "status"), [('"3"', 200), ("*", 200), ('"2"', 412)])
def test_if_match_is_checked_if_nothing_is_written(manager, at_version_3, if_match, status):
    response = manager.update({"connectionBizId": "sc_abc123"}, headers={"If-Match": if_match})

    assert response.status_code == status


def test_without_if_match_the_last_write_wins_field_by_field(manager, connection):
    manager.update({"connectionBizId": "sc_abc123", "connectionName": "First"})
    manager.update({"connectionBizId": "sc_abc123", "connectionDescription": "Second"})
    manager.update({"connectionBizId": "sc_abc123", "connectionName": "Third"})

    connection.refresh_from_db()
    assert connection.connection_name == "Third"
    assert connection.connection_description == "Second"


@pytest.mark.parametrize(
    "header", ["If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"]
)
def test_other_conditional_headers_are_ignored(manager, connection, header):
    response = manager.update(NAMED, headers={header: '"1"'})

    assert response.status_code == 200


def test_error_response_has_no_etag(manager, connection):
    response = manager.post(update_path(), {}, content_type="application/json")

    assert "ETag" not in response


@pytest.fixture
def meanwhile(connection):
    """Change the description between the first and the second statement of the call."""
    pending, found_caller = [{"connection_description": "Theirs"}], []

    def change(execute, sql, *arguments):
        if found_caller and pending:
            theirs = pending.pop()
            services.update_connection(
                workspace=connection.workspace,
                biz_id=connection.biz_id,
                changes=theirs,
                actor=Actor(None, Source.COMMAND),
            )
        if "workspaces_membership" in sql:
            found_caller.append(sql)
        return execute(sql, *arguments)

    with database.execute_wrapper(change):
        yield


@pytest.mark.usefixtures("meanwhile")
def test_change_before_the_write_is_recorded_as_the_old_value(manager, connection):
    response = manager.update(NAMED | {"connectionDescription": "Mine"})

    record = LogEntry.objects.get(additional_data__version=3)
    assert (response.status_code, response["ETag"]) == (200, '"3"')
    assert response.json()["data"]["connectionDescription"] == "Mine"
    assert record.changes["connection_description"] == ["Theirs", "Mine"]


@pytest.mark.usefixtures("meanwhile")
def test_change_of_another_field_before_the_write_is_kept_and_shown(manager, connection):
    data = manager.update(NAMED).json()["data"]

    assert (data["connectionName"], data["connectionDescription"]) == ("New", "Theirs")
    connection.refresh_from_db()
    assert connection.connection_description == "Theirs"


@pytest.mark.usefixtures("meanwhile")
def test_change_before_the_write_fails_the_precondition(manager, connection):
    response = manager.update(NAMED, headers={"If-Match": '"1"'})

    connection.refresh_from_db()
    assert response.status_code == 412
    assert (connection.connection_name, connection.version) == ("Stripe Connection", 2)
