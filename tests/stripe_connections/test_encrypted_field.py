"""What the encrypted columns store, give back and refuse."""

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as project_settings
from django.core.exceptions import FieldError
from django.db import connection as database
from django.db import transaction
from django.db.models import Case, CharField, F, OuterRef, Subquery, TextField, Value, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from stripe_connections.models import StripeConnection
from stripe_connections.secrets.fields import EncryptedTextField, UndecryptableSecretError
from tests.conftest import random_api_key

TABLE = "stripe_connections_stripeconnection"
FIELD = StripeConnection._meta.get_field("api_key")


@pytest.fixture
def three(workspace, make_connection):
    return [make_connection(workspace) for _ in range(3)]


def fernet(position: int = 0) -> Fernet:
    return Fernet(project_settings.FERNET_KEYS[position])


def plaintexts(stored: Any, connections: list[StripeConnection]) -> list[str]:
    """The column of each row, decrypted by hand with the first key."""
    return [fernet().decrypt(stored(one)["api_key"]).decode() for one in connections]


def write_raw(connection: StripeConnection, value: bytes) -> None:
    with database.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET api_key = %s WHERE id = %s", [value, connection.pk])


def read(connection: StripeConnection) -> str | None:
    return StripeConnection.objects.values_list("api_key", flat=True).get(pk=connection.pk)


@pytest.mark.parametrize("text", ["x", "sk_\N{SNOWMAN}", "", "a" * 255])
def test_text_comes_back(connection, text):
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=text)

    assert read(connection) == text


def test_the_column_holds_one_token_under_the_first_key(connection, stored):
    secret = random_api_key()
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=secret)

    raw = stored(connection)["api_key"]
    assert isinstance(raw, bytes)
    assert fernet().decrypt(raw).decode() == secret
    assert secret.encode() not in raw


def test_the_same_text_is_encrypted_differently_each_time(connection, stored):
    before = stored(connection)["api_key"]
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=read(connection))

    assert stored(connection)["api_key"] != before


def test_update_gives_every_row_the_value(three, stored):
    secret = random_api_key()
    StripeConnection.objects.update(api_key=secret)

    assert plaintexts(stored, three) == [secret] * 3


def test_bulk_update_gives_each_row_its_own_value(three, stored):
    secrets = [random_api_key() for _ in three]
    for one, secret in zip(three, secrets, strict=True):
        one.api_key = secret
    StripeConnection.objects.bulk_update(three, ["api_key"])

    assert plaintexts(stored, three) == secrets


def test_bulk_update_in_batches_with_a_null_in_one(three, stored):
    first, second, third = three
    first.api_key, third.api_key = random_api_key(), random_api_key()
    for name in ("api_key", "api_key_hint", "api_key_fingerprint", "api_key_replaced_at"):
        setattr(second, name, None)
    StripeConnection.objects.bulk_update(
        three,
        ["api_key", "api_key_hint", "api_key_fingerprint", "api_key_replaced_at"],
        batch_size=2,
    )

    assert plaintexts(stored, [first, third]) == [first.api_key, third.api_key]
    assert stored(second)["api_key"] is None


def test_bulk_create_gives_each_row_its_own_value(workspace, stored):
    secrets = [random_api_key() for _ in range(3)]
    rows = [StripeConnection(workspace=workspace, connection_name="New") for _ in secrets]
    for row, secret in zip(rows, secrets, strict=True):
        row.replace_secret("api_key", secret)
    created = StripeConnection.objects.bulk_create(rows)

    assert plaintexts(stored, created) == secrets


def test_save_stores_a_value_with_its_field(connection, stored):
    secret = random_api_key()
    connection.api_key = Value(secret, output_field=EncryptedTextField())
    connection.save(update_fields=["api_key"])

    assert plaintexts(stored, [connection]) == [secret]


def test_case_gives_each_row_its_own_value(three, stored):
    own, others = random_api_key(), random_api_key()
    StripeConnection.objects.update(
        api_key=Case(
            When(pk=three[1].pk, then=Value(own, output_field=FIELD)),
            default=Value(others, output_field=FIELD),
        )
    )

    assert plaintexts(stored, three) == [others, own, others]


def test_f_copies_the_token_of_another_secret(three, stored):
    before = [stored(one) for one in three]
    StripeConnection.objects.update(webhook_secret=F("api_key"))

    assert [stored(one)["webhook_secret"] for one in three] == [row["api_key"] for row in before]


@pytest.mark.parametrize(
    "expression",
    [
        Coalesce(F("api_key"), F("webhook_secret")),
        Subquery(StripeConnection.objects.filter(pk=OuterRef("pk")).values("api_key")[:1]),
        RawSQL("api_key", []),
    ],
)
def test_other_expressions_are_let_through_untouched(three, stored, expression):
    before = [stored(one)["api_key"] for one in three]
    StripeConnection.objects.update(webhook_secret=expression)

    assert [stored(one)["webhook_secret"] for one in three] == before


@pytest.mark.parametrize(
    "expression",
    [
        F("connection_name"),
        Value("plain"),
        Value("plain", output_field=TextField()),
        Case(When(status=1, then=Value("plain")), default=Value(None)),
        Case(
            When(status=1, then=Value("plain", output_field=CharField())),
            default=Value(None),
            output_field=EncryptedTextField(),
        ),
        Case(When(status=1, then=F("api_key")), default=F("connection_name"), output_field=FIELD),
        Coalesce(F("connection_name"), Value("plain")),
    ],
)
def test_expression_that_would_store_plain_text_is_refused(connection, stored, expression):
    before = stored(connection)
    with pytest.raises(TypeError, match="api_key takes text or None"), transaction.atomic():
        StripeConnection.objects.update(api_key=expression)

    assert stored(connection) == before


@pytest.mark.parametrize("value", [b"sk_bytes", 4711, 1.5, True, ["sk_list"], {"a": "b"}, object()])
def test_other_than_text_is_refused(connection, stored, value):
    before = stored(connection)
    with pytest.raises(TypeError, match="takes text or None") as caught, transaction.atomic():
        StripeConnection.objects.update(api_key=value)

    assert str(value) not in str(caught.value)
    assert stored(connection) == before


def test_other_than_text_is_refused_in_a_case(connection, stored):
    before = stored(connection)
    connection.api_key = b"sk_bytes"
    with pytest.raises(TypeError), transaction.atomic():
        StripeConnection.objects.bulk_update([connection], ["api_key"])

    assert stored(connection) == before


def test_none_is_null(connection, stored):
    traces = dict.fromkeys(("api_key_hint", "api_key_fingerprint", "api_key_replaced_at"))
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=None, **traces)

    assert stored(connection)["api_key"] is None
    assert read(connection) is None
    assert StripeConnection.objects.get(api_key__isnull=True) == connection


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff garbage",
        b"plain text " + random_api_key().encode(),
        Fernet(Fernet.generate_key()).encrypt(b"under a key of somebody else"),
        b"",
    ],
    ids=["garbage", "plaintext", "another key", "empty"],
)
def test_what_cannot_be_decrypted_is_never_given_back(connection, raw):
    write_raw(connection, raw)
    with pytest.raises(UndecryptableSecretError) as caught:
        read(connection)

    assert str(caught.value) == "api_key cannot be decrypted."
    assert caught.value.args == ("api_key cannot be decrypted.",)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_encrypted_bytes_that_are_no_text_are_undecryptable(connection):
    write_raw(connection, fernet().encrypt(b"\xff\xfe"))
    with pytest.raises(UndecryptableSecretError):
        read(connection)


def test_a_row_that_cannot_be_decrypted_is_listed_all_the_same(connection):
    write_raw(connection, b"garbage")

    assert [str(one) for one in StripeConnection.objects.all()] == ["Stripe Connection (sc_abc123)"]


@pytest.mark.parametrize("lookup", sorted(EncryptedTextField.get_lookups().keys() - {"isnull"}))
def test_lookup_is_refused(connection, lookup):
    with pytest.raises(FieldError, match="does not support lookups") as caught:
        list(StripeConnection.objects.filter(**{f"api_key__{lookup}": "sk_wanted"}))

    assert "sk_wanted" not in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "webhook_secret"])
def test_comparison_with_another_column_is_refused(connection, name):
    with pytest.raises(FieldError):
        list(StripeConnection.objects.filter(**{name: F("connection_name")}))


@pytest.mark.parametrize(
    "ordering",
    ["api_key", "-webhook_secret", F("api_key"), F("api_key").desc(), F("webhook_secret").asc()],
)
def test_ordering_by_a_secret_is_refused(connection, ordering):
    with pytest.raises(FieldError, match="ordered by a secret"):
        StripeConnection.objects.order_by("pk", ordering)


@pytest.mark.parametrize("ordering", ["pk", "-api_key_replaced_at", F("updated_at").desc()])
def test_ordering_by_what_stands_beside_a_secret_is_allowed(connection, ordering):
    assert list(StripeConnection.objects.order_by(ordering)) == [connection]


def test_a_row_under_an_older_key_is_read(connection):
    secret = random_api_key()
    write_raw(connection, fernet(1).encrypt(secret.encode()))

    assert read(connection) == secret


def test_a_new_first_key_encrypts_what_is_written_and_reads_the_rest(
    connection, stored, settings, workspace
):
    old = read(connection)
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    assert read(connection) == old

    StripeConnection.objects.filter(pk=connection.pk).update(api_key=old)
    assert fernet().decrypt(stored(connection)["api_key"]).decode() == old


def test_a_dropped_key_makes_its_rows_unreadable(connection, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(UndecryptableSecretError):
        read(connection)


def test_secrets_are_deferred(connection, workspace):
    secrets = {"api_key", "webhook_secret"}
    assert connection.get_deferred_fields() == secrets
    assert workspace.connections.get().get_deferred_fields() == secrets


def test_a_deferred_secret_is_read_on_demand(connection, stored):
    assert connection.api_key.encode() == fernet().decrypt(stored(connection)["api_key"])


def test_save_leaves_deferred_secrets_alone(connection, stored):
    before = stored(connection)
    connection.connection_name = "New"
    connection.save()

    assert stored(connection) == before | {"connection_name": "New"}


def test_save_of_a_row_that_cannot_be_decrypted_leaves_its_bytes(connection, stored):
    write_raw(connection, b"garbage")
    StripeConnection.objects.get().save()

    assert stored(connection)["api_key"] == b"garbage"


def test_refresh_reads_a_loaded_secret_again(connection):
    assert connection.api_key
    secret = random_api_key()
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=secret)
    connection.refresh_from_db()

    assert connection.api_key == secret


def test_refresh_leaves_deferred_secrets_deferred(connection):
    write_raw(connection, b"garbage")
    connection.refresh_from_db()

    assert connection.get_deferred_fields() == {"api_key", "webhook_secret"}


def test_refresh_of_one_secret(connection):
    secret = random_api_key()
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=secret)
    connection.refresh_from_db(fields=["api_key"])

    assert connection.api_key == secret
