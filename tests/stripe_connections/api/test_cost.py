"""What a call costs: statements, columns and cryptography."""

import re

import pytest
from cryptography.fernet import Fernet
from django.contrib.contenttypes.models import ContentType
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from config.web_chain import middleware
from stripe_connections.models import VERIFICATION_FIELDS, StripeConnection
from tests.conftest import (
    ApiClient,
    connections_path,
    plain,
    random_api_key,
    random_webhook_secret,
)

NAME = {"connectionName": "New"}
PLAIN = NAME | {
    "connectionDescription": "New",
    "stripeAccountId": "acct_new",
    "partnerEndpoint": "https://new.example.com/",
    "configJson": "{}",
}
ALWAYS = {"version", "updated_at"}
SUFFIXES = ("", "_hint", "_fingerprint", "_replaced_at")
API_KEY, WEBHOOK_SECRET = (
    {f"{secret}{suffix}" for suffix in SUFFIXES} for secret in ("api_key", "webhook_secret")
)
# The row before the verification and the locked row; on PostgreSQL also BEGIN and COMMIT.
VERIFYING = 2 if database.vendor == "sqlite" else 4
PLAIN_COLUMNS = {
    "connection_name",
    "connection_description",
    "stripe_account_id",
    "partner_endpoint",
    "config_json",
}


@pytest.fixture
def statements(transactional_db, manager, connection):
    """Return a function that makes an update and returns its SQL, with BEGIN and COMMIT."""

    def run(changes, body=None, **kwargs):
        # A process looks this up only once.
        ContentType.objects.get_for_model(StripeConnection)
        with CaptureQueriesContext(database) as captured:
            response = manager.update(body or {"connectionBizId": "sc_abc123"} | changes, **kwargs)
        assert response.status_code == 200
        return [query["sql"] for query in captured]

    return run


@pytest.fixture
def fernet_calls(monkeypatch):
    """A list of all Fernet operations, "encrypt" or "decrypt", in order.

    Every method of Fernet and MultiFernet calls one of the two patched methods.
    """
    calls = []
    for name in ("_encrypt_from_parts", "_decrypt_data"):
        original = getattr(Fernet, name)

        def counted(self, *args, _name=name, _original=original, **kwargs):
            calls.append(_name.split("_")[1])
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(Fernet, name, counted)
    return calls


def kinds(statements):
    """Return the verb and the table of each statement, including nested ones."""
    found = re.findall(
        r"(BEGIN|COMMIT|SAVEPOINT|RELEASE)\b|"
        r'(?:(SELECT)\b(?:(?!SELECT).)*? FROM|(UPDATE)|(INSERT) INTO) "?(\w+_\w+)',
        " ".join(" ".join(statements).split()),
    )
    return [begin or ("".join(verbs), table) for begin, *verbs, table in found]


def written(statements):
    """Return the columns that the UPDATE sets."""
    (update,) = [sql for sql in statements if "UPDATE stripe_connections" in sql]
    assignments = re.split(r"\b(?:FROM old|WHERE id)\b", update.split("SET ")[1])[0]
    return set(re.findall(r"(\w+) = ", assignments))


@pytest.mark.parametrize(
    ("changes", "on_sqlite"),
    [
        (NAME, 6),
        ({"apiKey": random_api_key()}, 7),
        (PLAIN | {"webhookSecret": random_webhook_secret()}, 7),
        ({"apiKey": random_api_key(), "webhookSecret": random_webhook_secret()}, 7),
    ],
    ids=["name", "secret", "many", "both secrets"],
)
def test_call_reads_once_and_writes_once(statements, changes, on_sqlite):
    assert len(statements(changes)) == {"postgresql": 2, "sqlite": on_sqlite}[database.vendor]


@pytest.mark.only_on("postgresql")
def test_longest_statement_is_parsed_only_once(manager, connection):
    """The driver keeps the parsed form of statements with up to 4,096 characters."""
    lengths = []

    def measure(execute, sql, *arguments):
        lengths.append(len(sql))
        return execute(sql, *arguments)

    secrets = {"apiKey": random_api_key(), "webhookSecret": random_webhook_secret()}
    with database.execute_wrapper(measure):
        manager.update({"connectionBizId": "sc_abc123"} | PLAIN | secrets)

    assert max(lengths) <= 4096


def test_update_of_a_name_touches_no_other_table(statements):
    table = "stripe_connections_stripeconnection"
    update = [("SELECT", table), ("UPDATE", table), ("INSERT", "auditlog_logentry")]
    around = {"postgresql": ([], []), "sqlite": (["BEGIN"], ["COMMIT"])}
    begin, commit = around[database.vendor]

    assert kinds(statements(NAME)) == [
        ("SELECT", "workspaces_membership"), *begin, *update, *commit,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        (NAME, 0),
        ({"webhookSecret": random_webhook_secret()}, 0),
        ({"apiKey": random_api_key()}, VERIFYING),
    ],
    ids=["name", "webhook secret", "api key"],
)
def test_only_a_new_key_costs_statements_for_verification(
    statements, stripe, settings, changes, more
):
    with_verification = statements(changes)
    settings.STRIPE_VERIFY = False

    assert len(with_verification) == len(statements(changes)) + more


def test_precondition_costs_no_statement(statements):
    assert len(statements(NAME, headers={"If-Match": '"1"'})) == len(statements(NAME))


def test_call_without_a_change_reads_once_and_writes_nothing(statements):
    assert kinds(statements({})) == [
        ("SELECT", "workspaces_membership"),
        ("SELECT", "stripe_connections_stripeconnection"),
    ]


def test_user_membership_workspace_and_tenant_are_one_query(statements):
    first = statements(NAME)[0]

    assert set(re.findall(r"JOIN (\w+)", first)) == {
        "auth_user",
        "workspaces_workspace",
        "workspaces_tenant",
    }


@pytest.mark.parametrize(
    ("changes", "columns"),
    [
        (NAME, {"connection_name"}),
        ({"configJson": None}, {"config_json"}),
        (PLAIN, PLAIN_COLUMNS | {*VERIFICATION_FIELDS}),
        ({"apiKey": random_api_key()}, API_KEY | {*VERIFICATION_FIELDS}),
        ({"webhookSecret": random_webhook_secret()}, WEBHOOK_SECRET),
        (
            PLAIN | {"apiKey": random_api_key(), "webhookSecret": random_webhook_secret()},
            PLAIN_COLUMNS | API_KEY | WEBHOOK_SECRET | {*VERIFICATION_FIELDS},
        ),
    ],
    ids=["name", "null", "plain", "api key", "webhook secret", "all"],
)
def test_only_the_given_columns_are_written(statements, changes, columns):
    assert written(statements(changes)) == columns | ALWAYS


@pytest.mark.parametrize("changes", [NAME, PLAIN, {}], ids=["name", "plain", "nothing"])
def test_secrets_are_not_read(statements, changes):
    run = " ".join(statements(changes))

    assert not re.findall(r"\b(?:api_key|webhook_secret)\b", run)


@pytest.mark.parametrize("changes", [NAME, {}], ids=["name", "nothing"])
def test_verification_is_not_read(statements, changes):
    assert [name for name in VERIFICATION_FIELDS if name in " ".join(statements(changes))] == []


@pytest.mark.parametrize(
    ("changes", "operations"),
    [
        (NAME, 0),
        (PLAIN, 0),
        ({}, 0),
        ({"apiKey": random_api_key()}, 1),
        (NAME | {"webhookSecret": random_webhook_secret()}, 1),
        ({"apiKey": random_api_key(), "webhookSecret": random_webhook_secret()}, 2),
    ],
    ids=["name", "plain", "nothing", "api key", "name and webhook secret", "both secrets"],
)
def test_each_given_secret_is_encrypted_once_and_none_decrypted(
    manager, connection, fernet_calls, changes, operations
):
    response = manager.update({"connectionBizId": "sc_abc123"} | changes)

    assert response.status_code == 200
    assert fernet_calls == ["encrypt"] * operations


def test_decryption_is_counted(connection, fernet_calls):
    assert plain(connection, "api_key")

    assert fernet_calls == ["decrypt"]


def test_refused_body_costs_no_cryptography(manager, connection, fernet_calls):
    body = {"connectionBizId": "sc_abc123", "apiKey": random_api_key(), "nonsense": 1}

    assert manager.update(body).status_code == 400
    assert fernet_calls == []


def test_unknown_connection_decrypts_nothing(manager, connection, fernet_calls):
    body = {"connectionBizId": "sc_other", "apiKey": random_api_key()}

    assert manager.update(body).status_code == 404
    assert "decrypt" not in fernet_calls


@pytest.mark.parametrize(("workspace_id", "known"), [("ws_demo", 1), ("ws_" + "x" * 5_000, 0)])
def test_long_paths_do_not_fill_the_memory(workspace_id, known):
    middleware._known.cache_clear()

    assert ApiClient().update({}, workspace_id=workspace_id).status_code == 401
    assert middleware._known.cache_info().currsize == known


MEMBERSHIP = ("SELECT", "workspaces_membership")
FOUND = ("SELECT", "stripe_connections_stripeconnection")
# Reads a connection and the end of its overlap in one statement.
SHOWN = ("SELECT", "stripe_connections_replacedsecret")
INSERTED = ("INSERT", "stripe_connections_stripeconnection")
RECORDED = ("INSERT", "auditlog_logentry")
AUDIT = ("SELECT", "auditlog_logentry")
KEY = ("SELECT", "stripe_connections_idempotencykey")
KEPT = ("INSERT", "stripe_connections_idempotencykey")
READ = {
    "list": ("", {}, [MEMBERSHIP, SHOWN]),
    "a later page": ("", {"after": "sc_abc123"}, [MEMBERSHIP, FOUND, SHOWN]),
    "filtered": ("", {"search": "x", "status": "ACTIVE", "mode": "live"}, [MEMBERSHIP, SHOWN]),
    "sorted": ("", {"sort": "-updated"}, [MEMBERSHIP, SHOWN]),
    "a later page by name": (
        "",
        {"sort": "name", "after": "sc_abc123~a"},
        [MEMBERSHIP, FOUND, SHOWN],
    ),
    "counted": ("", {"count": "true"}, [MEMBERSHIP, FOUND, SHOWN]),
    "detail": ("/sc_abc123", {}, [MEMBERSHIP, SHOWN]),
    "history": ("/sc_abc123/history", {}, [MEMBERSHIP, SHOWN, AUDIT, AUDIT]),
}


@pytest.fixture
def sent(transactional_db, manager, connection):
    """Return a function that makes a call and returns its SQL, without BEGIN and COMMIT."""

    def run(call, *args, **kwargs):
        ContentType.objects.get_for_model(StripeConnection)
        with CaptureQueriesContext(database) as captured:
            response = call(*args, **kwargs)
        assert response.status_code == 200
        run = [query["sql"] for query in captured]
        return [sql for sql in run if not sql.startswith(("BEGIN", "COMMIT"))]

    return run


@pytest.mark.parametrize("more", [1, 5])
def test_reading_costs_the_same_for_any_number_of_rows(
    sent, manager, workspace, make_connection, fernet_calls, more
):
    for _ in range(more):
        make_connection(workspace)
        manager.update({"connectionBizId": "sc_abc123"} | NAME)
    fernet_calls.clear()

    runs = {call: sent(manager.read, path, query) for call, (path, query, _) in READ.items()}

    expected = {call: (kinds_, len(kinds_)) for call, (_, _, kinds_) in READ.items()}
    assert {call: (kinds(run), len(run)) for call, run in runs.items()} == expected
    assert fernet_calls == []
    sql = " ".join(" ".join(run) for run in runs.values())
    assert not re.findall(r'"(?:api_key|webhook_secret|body_fingerprint)"', sql)


def test_status_costs_what_an_update_costs(sent, manager):
    update = sent(manager.update, {"connectionBizId": "sc_abc123"} | NAME)

    assert kinds(sent(manager.call, "status")) == kinds(update)


def create(manager, **headers):
    path = f"{connections_path()}/create"
    return manager.post(path, NAME, content_type="application/json", headers=headers)


def test_creation_reads_once_and_writes_twice(sent, manager):
    assert kinds(sent(create, manager)) == [MEMBERSHIP, INSERTED, RECORDED]


def test_creation_with_an_idempotency_key_reads_and_stores_it(sent, manager):
    run = sent(create, manager, **{"Idempotency-Key": "a"})

    # Deletes the key if it has expired.
    deleted = [sql for sql in run if sql.startswith("DELETE")]
    time_out = [sql for sql in run if sql.startswith("SELECT set_config")]
    rest = [sql for sql in run if sql not in deleted + time_out]
    assert kinds(rest) == [MEMBERSHIP, KEY, INSERTED, RECORDED, KEPT]
    assert (len(deleted), len(time_out)) == (1, int(database.vendor == "postgresql"))


def test_replay_writes_nothing(sent, manager):
    create(manager, **{"Idempotency-Key": "a"})

    assert kinds(sent(create, manager, **{"Idempotency-Key": "a"})) == [MEMBERSHIP, KEY, SHOWN]
