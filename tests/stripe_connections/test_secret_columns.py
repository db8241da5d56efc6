"""`secret_columns` returns a new secret's ciphertext, hint, fingerprint and date."""

import pytest

from stripe_connections.secrets.columns import hint_of, secret_columns
from stripe_connections.secrets.keyring import keyring
from tests.conftest import random_api_key, random_webhook_secret


@pytest.mark.parametrize(
    ("name", "make"), [("api_key", random_api_key), ("webhook_secret", random_webhook_secret)]
)
def test_secret_is_written_with_its_hint_fingerprint_and_time(connection, stored, name, make):
    secret = make()

    columns = secret_columns(connection.workspace_id, connection.biz_id, name, secret)

    assert list(columns) == [name, f"{name}_hint", f"{name}_fingerprint", f"{name}_replaced_at"]
    known = (columns[f"{name}_hint"], columns[f"{name}_fingerprint"])
    assert known == (hint_of(secret), keyring().fingerprint(secret))
    assert secret.encode() not in columns[name]


@pytest.mark.parametrize("value", [None, b"sk_bytes", 4711, ["sk_list"]])
def test_secret_that_is_not_text_is_refused_without_repeating_it(value):
    with pytest.raises(TypeError) as caught:
        secret_columns(1, "sc_abc123", "api_key", value)

    assert "sk_" not in str(caught.value)
