"""`services.update_connection`: its rules, and its audit records."""

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.secrets.keyring import keyring
from tests.conftest import plain, random_api_key, random_webhook_secret

NOBODY = Actor(None, Source.COMMAND)


@pytest.fixture
def update(workspace, connection):
    """Return a function that updates the connection with the service."""

    def call(changes, *, actor=NOBODY, **kwargs):
        values = {"workspace": workspace, "biz_id": "sc_abc123"} | kwargs
        return services.update_connection(changes=changes, actor=actor, **values)

    return call


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connection_name", "New"),
        ("connection_description", "New"),
        ("connection_description", None),
        ("stripe_account_id", "acct_new"),
        ("stripe_account_id", None),
        ("partner_endpoint", "https://new.example.com/"),
        ("partner_endpoint", None),
        ("config_json", '{"a": 1}'),
        ("config_json", None),
        ("status", 0),
    ],
)
def test_given_field_is_written_and_recorded(update, connection, stored, name, value):
    before = stored(connection)
    returned = update({name: value})

    after = stored(connection)
    assert after == before | {name: value, "version": 2, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert (getattr(returned, name), returned.version) == (value, 2)
    assert LogEntry.objects.get().changes == {name: [before[name], value]}


@pytest.mark.parametrize(
    ("name", "make"), [("api_key", random_api_key), ("webhook_secret", random_webhook_secret)]
)
def test_given_secret_is_encrypted_and_recorded_as_hints(update, connection, stored, name, make):
    before, secret = stored(connection), make()
    update({name: secret})

    after = stored(connection)
    hint = secret[: -len(secret.rsplit("_", 1)[1])] + "…" + secret[-4:]
    changed = {name, f"{name}_hint", f"{name}_fingerprint", f"{name}_replaced_at"}
    assert {key for key in after if after[key] != before[key]} == changed | {
        "version",
        "updated_at",
    }
    assert plain(StripeConnection.objects.get(), name) == secret
    assert after[f"{name}_hint"] == hint
    assert after[f"{name}_fingerprint"] == keyring().fingerprint(secret)
    assert LogEntry.objects.get().changes == {name: [before[f"{name}_hint"], f"replaced {hint}"]}


def test_first_secret_is_recorded_without_an_old_hint(update, workspace):
    new = services.create_connection(
        workspace=workspace, values={"connection_name": "New"}, actor=NOBODY
    )
    secret = random_api_key("rk_test_")
    update({"api_key": secret}, biz_id=new.biz_id)

    assert LogEntry.objects.order_by("pk").last().changes == {
        "api_key": [None, f"replaced rk_test_…{secret[-4:]}"]
    }


def test_several_fields_are_one_version_and_one_record(update, connection):
    update(
        {"connection_name": "New", "config_json": "{}", "webhook_secret": random_webhook_secret()}
    )

    record = LogEntry.objects.get()
    connection.refresh_from_db()
    assert connection.version == 2
    assert set(record.changes) == {"connection_name", "config_json", "webhook_secret"}


def test_unchanged_value_is_written_and_recorded_too(update, connection):
    update({"connection_name": connection.connection_name})

    connection.refresh_from_db()
    assert connection.version == 2
    assert LogEntry.objects.get().changes == {
        "connection_name": ["Stripe Connection", "Stripe Connection"]
    }


@pytest.mark.parametrize("source", list(Source))
def test_record_has_actor_source_time_and_object(update, connection, make_user, source):
    user = make_user("somebody")
    update({"connection_name": "New"}, actor=Actor(user, source, "request-7"))

    record = LogEntry.objects.get()
    connection.refresh_from_db()
    assert record.actor == user
    assert record.cid == "request-7"
    assert record.action == LogEntry.Action.UPDATE
    assert record.content_type == ContentType.objects.get_for_model(StripeConnection)
    assert (record.object_pk, record.object_id) == (str(connection.pk), connection.pk)
    assert record.object_repr == "sc_abc123"
    assert record.additional_data == {
        "source": source.value,
        "username": "somebody",
        "version": connection.version,
    }
    assert abs((record.timestamp - connection.updated_at).total_seconds()) < 60


def test_record_without_a_user(update):
    update({"connection_name": "New"})

    record = LogEntry.objects.get()
    assert (record.actor, record.cid) == (None, None)
    assert record.additional_data["username"] is None


def test_call_is_recorded_as_the_api_with_its_request_id(manager, connection):
    manager.update(
        {"connectionBizId": "sc_abc123", "connectionName": "New"},
        headers={"X-Request-Id": "gateway:42"},
    )

    record = LogEntry.objects.get()
    assert record.actor == User.objects.get(username="manager")
    assert record.additional_data["source"] == "api"
    assert record.cid == "gateway:42"
    assert record.changes == {"connection_name": ["Stripe Connection", "New"]}


@pytest.mark.usefixtures("untouched")
def test_no_change_returns_the_connection_and_writes_nothing(update, connection):
    assert update({}) == connection


@pytest.fixture
def error_of(update):
    """Return a function that makes an update and returns the type and text of its error."""

    def call(*args, **kwargs):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the test compares the type
            update(*args, **kwargs)
        return caught.type, str(caught.value)

    return call


@pytest.mark.usefixtures("untouched")
def test_name_that_is_not_updatable_is_refused(error_of):
    names = [
        "version", "biz_id", "workspace", "api_key_hint", "updated_at", "id", "apiKey", "nonsense",
    ]  # fmt: skip
    found = {name: error_of({"connection_name": "New", name: "x"}) for name in names}

    assert found == {name: (ValueError, f"Not updatable: {name}.") for name in names}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", ["api_key", "webhook_secret"])
def test_secret_that_is_not_text_is_refused(error_of, name):
    values = [None, b"sk_bytes", 4711, ["sk_list"]]
    found = [error_of({"connection_name": "New", name: value}) for value in values]

    assert {kind for kind, _ in found} == {TypeError}
    assert "sk_" not in str(found)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("changes", [{}, {"connection_name": "New"}])
def test_unknown_connection_is_refused(error_of, changes):
    biz_ids = ["sc_other", "SC_ABC123", "sc_abc123 ", ""]
    found = {biz_id: error_of(changes, biz_id=biz_id)[0] for biz_id in biz_ids}

    assert found == dict.fromkeys(biz_ids, services.ConnectionNotFoundError)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("changes", [{}, {"connection_name": "New"}])
def test_connection_of_a_sibling_workspace_is_refused(update, sibling_workspace, changes):
    with pytest.raises(services.ConnectionNotFoundError):
        update(changes, workspace=sibling_workspace)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("changes", [{}, {"connection_name": "New"}])
def test_unexpected_version_is_refused(error_of, changes):
    versions = [(), (0,), (2,), (2, 3)]
    found = {each: error_of(changes, expected_versions=[*each])[0] for each in versions}

    assert found == dict.fromkeys(versions, services.VersionConflictError)


@pytest.mark.parametrize("expected", [None, [1], [7, 1]])
def test_update_of_an_expected_version_is_written(update, expected):
    assert update({"connection_name": "New"}, expected_versions=expected).version == 2


@pytest.mark.usefixtures("untouched")
def test_change_that_the_database_refuses_is_not_written(update):
    with pytest.raises(IntegrityError):
        update({"connection_name": "New", "status": 7})


@pytest.mark.usefixtures("untouched", "no_records")
def test_change_that_cannot_be_recorded_is_undone(update):
    with pytest.raises(IntegrityError, match="records"):
        update({"connection_name": "New", "api_key": random_api_key()})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("untouched", "no_records")
def test_call_that_cannot_be_recorded_is_a_crash_and_undone(manager, connection):
    body = {"connectionBizId": "sc_abc123", "connectionName": "New", "apiKey": random_api_key()}
    response = manager.update(body)

    assert (response.status_code, response.json()["code"]) == (500, "5000")


def test_returned_connection_does_not_read_its_secrets(update):
    assert update({"connection_name": "New"}).get_deferred_fields() >= {"api_key", "webhook_secret"}
