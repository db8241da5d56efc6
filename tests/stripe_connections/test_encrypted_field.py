"""What the encrypted columns store, return and refuse."""

import copy
import json
import pickle
from base64 import urlsafe_b64decode, urlsafe_b64encode
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from django.conf import settings as project_settings
from django.core.exceptions import FieldError
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import Case, F, OuterRef, Subquery, Value, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.secrets.fields import EncryptedTextField, UndecryptableSecretError
from stripe_connections.secrets.keyring import keyring
from tests.conftest import plain, random_api_key, set_columns

FIELD = StripeConnection._meta.get_field("api_key")
SECRETS = {"api_key", "webhook_secret"}
REFUSED = pytest.mark.only_on("sqlite", reason="the query does not reach the database")


def fernet(connection: StripeConnection, name: str = "api_key", position: int = 0) -> Fernet:
    """Derive the Fernet for a secret of `connection`, without the product's code."""
    info = f"stripe_connections.secret:{connection.workspace_id}:{name}:{connection.biz_id}"
    key = urlsafe_b64decode(project_settings.FERNET_KEYS[position])
    derived = HKDFExpand(algorithm=SHA256(), length=32, info=info.encode()).derive(key)
    return Fernet(urlsafe_b64encode(derived))


def read(connection: StripeConnection) -> str | None:
    return plain(StripeConnection.objects.get(pk=connection.pk), "api_key")


def write(connection: StripeConnection, secret: str | None) -> None:
    connection.api_key = secret
    connection.save(update_fields=["api_key"])


def replace(connection: StripeConnection) -> str:
    """Replace the API key with the service."""
    secret = random_api_key()
    services.update_connection(
        workspace=connection.workspace,
        biz_id=connection.biz_id,
        changes={"api_key": secret},
        actor=Actor(None, Source.COMMAND),
    )
    return secret


# ── What is stored ────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("text", ["x", "sk_\N{SNOWMAN}", "", "a" * 255])
def test_stored_text_is_read_back(connection, text):
    write(connection, text)

    assert read(connection) == text


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_secret_is_encrypted_with_a_key_derived_for_row_and_field(connection, stored, name):
    secret = random_api_key()
    setattr(connection, name, secret)
    connection.save(update_fields=[name])

    raw = stored(connection)[name]
    assert fernet(connection, name).decrypt(raw).decode() == secret
    assert secret.encode() not in raw


def test_same_text_is_encrypted_differently_each_time(connection, stored):
    before = stored(connection)["api_key"]
    write(connection, read(connection))

    assert stored(connection)["api_key"] != before


def test_bulk_create_stores_the_secret_of_each_row(workspace):
    secrets = [random_api_key() for _ in range(3)]
    rows = [StripeConnection(workspace=workspace, connection_name="New") for _ in secrets]
    for row, secret in zip(rows, secrets, strict=True):
        row.replace_secret("api_key", secret)
    created = StripeConnection.objects.bulk_create(rows)

    assert [read(one) for one in created] == secrets


def test_none_is_stored_as_null(connection, stored):
    known = dict.fromkeys(("api_key_hint", "api_key_fingerprint", "api_key_replaced_at"))
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=None, **known)

    assert stored(connection)["api_key"] is None
    assert read(connection) is None
    assert StripeConnection.objects.get(api_key__isnull=True) == connection


@pytest.mark.parametrize("missing", [{"biz_id": ""}, {"biz_id": None}, {"workspace": None}])
def test_secret_of_an_instance_without_workspace_or_business_id_is_refused(workspace, missing):
    row = StripeConnection(**{"workspace": workspace, "connection_name": "New"} | missing)
    row.replace_secret("api_key", random_api_key())

    with pytest.raises(ValueError, match="needs a connection with a workspace and a business ID"):
        row.save()


# ── What is refused ───────────────────────────────────────────────────────────────────────────
NOT_SECRETS = [
    random_api_key(),
    b"sk_bytes",
    4711,
    True,
    ["sk_list"],
    {"a": "b"},
    F("webhook_secret"),
    F("connection_name"),
    Value("sk_value"),
    Value("sk_value", output_field=FIELD),
    Value(None),
    Case(When(status=1, then=Value("sk_case", output_field=FIELD)), default=F("api_key")),
    Coalesce(F("api_key"), F("webhook_secret")),
    Subquery(StripeConnection.objects.filter(pk=OuterRef("pk")).values("api_key")[:1]),
    RawSQL("api_key", []),
]


def test_queryset_update_of_a_secret_is_refused(connection, stored):
    def error_of(value):
        with pytest.raises(TypeError) as caught, transaction.atomic():
            StripeConnection.objects.update(api_key=value)
        return str(caught.value)

    before = stored(connection)
    errors = [error_of(value) for value in NOT_SECRETS]

    assert [error for error in errors if "cannot be stored from a" not in error] == []
    assert "sk_" not in str(errors)
    assert stored(connection) == before


def test_bulk_update_of_a_secret_is_refused(connection, stored):
    before = stored(connection)
    connection.api_key = random_api_key()
    with pytest.raises(TypeError, match="cannot be stored from a"), transaction.atomic():
        StripeConnection.objects.bulk_update([connection], ["api_key"])

    assert stored(connection) == before


def test_secret_of_another_field_is_refused(connection, stored):
    before = stored(connection)
    connection.webhook_secret = connection.api_key
    with pytest.raises(TypeError, match="cannot be stored from a"), transaction.atomic():
        connection.save(update_fields=["webhook_secret"])

    assert stored(connection) == before


@REFUSED
def test_lookup_is_refused(connection):
    def error_of(lookup):
        with pytest.raises(FieldError) as caught:
            list(StripeConnection.objects.filter(**{f"api_key__{lookup}": "sk_wanted"}))
        return str(caught.value)

    lookups = sorted(EncryptedTextField.get_lookups().keys() - {"isnull"})
    errors = {lookup: error_of(lookup) for lookup in lookups}

    assert "exact" in errors
    assert [error for error in errors.values() if "does not support lookups" not in error] == []
    assert "sk_wanted" not in str(errors)


@REFUSED
@pytest.mark.parametrize("name", sorted(SECRETS))
def test_comparison_with_another_column_is_refused(connection, name):
    with pytest.raises(FieldError):
        list(StripeConnection.objects.filter(**{name: F("connection_name")}))


@REFUSED
@pytest.mark.parametrize(
    "ordering",
    ["api_key", "-webhook_secret", F("api_key"), F("api_key").desc(), F("webhook_secret").asc()],
)
def test_ordering_by_a_secret_is_refused(connection, ordering):
    with pytest.raises(FieldError, match="ordered by a secret"):
        StripeConnection.objects.order_by("pk", ordering)


@pytest.mark.parametrize("ordering", ["pk", "-api_key_replaced_at", F("updated_at").desc()])
def test_ordering_by_other_columns_is_allowed(connection, ordering):
    assert list(StripeConnection.objects.order_by(ordering)) == [connection]


def test_dumpdata_refuses_connections(connection):
    out = StringIO()
    with pytest.raises(CommandError, match="api_key cannot be serialized"):
        call_command("dumpdata", "stripe_connections.StripeConnection", stdout=out)

    assert "gAAAA" not in out.getvalue()


def test_loaddata_refuses_a_secret(connection, stored, tmp_path):
    secret = random_api_key()
    before = stored(connection)
    fields = {"workspace": connection.workspace_id, "connection_name": "New", "api_key": secret}
    row = {"model": "stripe_connections.stripeconnection", "pk": connection.pk, "fields": fields}
    fixture = tmp_path / "connections.json"
    fixture.write_text(json.dumps([row]))

    with pytest.raises(TypeError, match="api_key cannot be stored") as caught:
        call_command("loaddata", str(fixture), verbosity=0)

    assert secret not in str(caught.value)
    assert stored(connection) == before


# ── What is read ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff garbage",
        b"plain text " + random_api_key().encode(),
        Fernet(Fernet.generate_key()).encrypt(b"with another key"),
        Fernet(project_settings.FERNET_KEYS[0]).encrypt(b"with the key itself"),
        b"",
    ],
    ids=["garbage", "plaintext", "another key", "not bound", "empty"],
)
def test_undecryptable_value_raises_an_error_without_the_value(connection, raw):
    set_columns(connection, api_key=raw)
    with pytest.raises(UndecryptableSecretError) as caught:
        read(connection)

    assert caught.value.args == ("api_key cannot be decrypted.",)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_encrypted_bytes_that_are_not_utf_8_are_undecryptable(connection):
    set_columns(connection, api_key=fernet(connection).encrypt(b"\xff\xfe"))
    with pytest.raises(UndecryptableSecretError):
        read(connection)


def test_undecryptable_row_can_be_listed(connection):
    set_columns(connection, api_key=b"garbage")

    assert [str(one) for one in StripeConnection.objects.all()] == ["Stripe Connection (sc_abc123)"]


def test_secret_under_an_older_key_is_read(connection):
    secret = random_api_key()
    set_columns(connection, api_key=fernet(connection, position=1).encrypt(secret.encode()))

    assert read(connection) == secret


def test_after_a_new_first_key_old_secrets_are_read_and_new_ones_use_it(
    connection, stored, settings
):
    old = read(connection)
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    assert read(connection) == old

    write(connection, old)
    assert fernet(connection).decrypt(stored(connection)["api_key"]).decode() == old


def test_secret_whose_key_was_removed_is_undecryptable(connection, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(UndecryptableSecretError):
        read(connection)


@pytest.mark.parametrize("change", [{"biz_id": "sc_renamed"}, {"workspace_id": 4711}])
def test_secret_is_bound_to_workspace_and_business_id(connection, change):
    assert connection.api_key
    vars(connection).update(change)

    with pytest.raises(UndecryptableSecretError):
        plain(connection, "api_key")


# ── Loaded values ─────────────────────────────────────────────────────────────────────────────
def test_secrets_are_deferred(connection, workspace):
    assert connection.get_deferred_fields() == SECRETS
    assert workspace.connections.get().get_deferred_fields() == SECRETS


@pytest.mark.parametrize("show", [str, repr, "{}".format, "%s".__mod__, lambda s: repr([s])])
def test_text_of_a_loaded_secret_does_not_show_it(connection, show):
    text = show(connection.api_key)

    assert read(connection) not in text
    assert "gAAAA" not in text


@pytest.mark.parametrize(
    "carry", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]
)
def test_copy_and_pickle_contain_only_ciphertext(connection, carry):
    expected = read(connection)
    assert connection.api_key
    carried = carry(connection)

    assert plain(carried, "api_key") == expected
    assert expected.encode() not in pickle.dumps(carried)


def test_values_contain_only_ciphertext(connection):
    row = StripeConnection.objects.values_list("workspace_id", "biz_id", "api_key", named=True)[0]

    assert row.api_key.reveal(row) == read(connection)
    assert read(connection) not in str(StripeConnection.objects.values())


def test_secret_can_be_decrypted_if_only_it_was_loaded(connection):
    assert plain(StripeConnection.objects.only("api_key").get(), "api_key") == read(connection)


def test_full_clean_does_not_change_a_loaded_secret(connection):
    secret = connection.api_key
    connection.full_clean()

    assert connection.api_key == secret


def test_loaded_secret_can_be_stored_again(connection, stored):
    before = stored(connection)
    StripeConnection.objects.filter(pk=connection.pk).update(api_key=connection.api_key)

    assert stored(connection) == before


def test_instance_does_not_keep_the_plain_text_after_save(connection):
    secret = random_api_key()
    write(connection, secret)

    assert secret not in repr(vars(connection))
    assert plain(connection, "api_key") == secret


# ── Saving and refreshing ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("loaded", [(), ("api_key", "webhook_secret")], ids=["deferred", "loaded"])
def test_save_does_not_overwrite_a_key_that_was_replaced_meanwhile(connection, stored, loaded):
    assert all(getattr(connection, name) for name in loaded)
    secret = replace(connection)
    expected = {name: value for name, value in stored(connection).items() if "api_key" in name}
    connection.connection_name = "New"
    connection.save()

    assert stored(connection).items() >= expected.items()
    assert (read(connection), stored(connection)["connection_name"]) == (secret, "New")
    assert stored(connection)["api_key_fingerprint"] == keyring().fingerprint(secret)


def test_save_writes_only_the_new_secret(connection, stored):
    secret, before = random_api_key(), stored(connection)
    connection.replace_secret("api_key", secret)
    connection.save()

    assert read(connection) == secret
    assert {name for name in before if stored(connection)[name] != before[name]} == {
        name for name in before if name.startswith("api_key")
    }


def test_save_does_not_change_an_undecryptable_secret(connection, stored):
    set_columns(connection, api_key=b"garbage")
    StripeConnection.objects.with_secrets().get().save()

    assert stored(connection)["api_key"] == b"garbage"


@pytest.mark.parametrize("fields", [None, ["api_key"]])
def test_refresh_reads_a_loaded_secret_again(connection, fields):
    assert connection.api_key
    secret = replace(connection)
    connection.refresh_from_db(fields=fields)

    assert plain(connection, "api_key") == secret


def test_refresh_leaves_deferred_secrets_deferred(connection):
    set_columns(connection, api_key=b"garbage")
    connection.refresh_from_db()

    assert connection.get_deferred_fields() == SECRETS
