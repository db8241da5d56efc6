"""The migration keeps results of an older version that belong to the stored key and account."""

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db.migrations.executor import MigrationExecutor

STORED, OTHER = "acct_1234567890", "acct_other"


@pytest.fixture
def older(request):
    """The models before the migration, which the test runs."""
    request.getfixturevalue("transactional_db")
    executor = MigrationExecutor(database)
    target = [("stripe_connections", "0007_idempotency_key")]
    executor.migrate(target)
    yield executor.loader.project_state(target).apps
    call_command("migrate", verbosity=0)


# The columns of an older version (outcome, account in the reply, current account, current key), and
# the migrated outcome.
CASES = {
    (None, None, STORED, None): "unverified",
    ("narrow", None, STORED, "same"): "restricted",
    ("narrow", None, STORED, "other"): "unverified",
    ("verified", STORED, STORED, "same"): "verified",
    ("verified", STORED, None, "same"): "verified",
    ("verified", STORED, OTHER, "same"): "unverified",
    ("verified", STORED, STORED, "other"): "unverified",
    ("rejected", None, STORED, "same"): "rejected",
    ("rejected", OTHER, STORED, "same"): "rejected",
    ("rejected", STORED, STORED, "same"): "unverified",
}


@pytest.mark.django_db(transaction=True)
def test_outcome_is_migrated_if_it_still_applies(older):
    tenant = older.get_model("workspaces", "Tenant").objects.create(biz_id="tn_1", name="One")
    workspace = older.get_model("workspaces", "Workspace").objects.create(
        biz_id="ws_1", name="One", tenant=tenant
    )
    connections = older.get_model("stripe_connections", "StripeConnection").objects
    for number, (outcome, answered, stored, key) in enumerate(CASES):
        connections.create(
            biz_id=f"sc_{number}",
            workspace=workspace,
            connection_name="One",
            stripe_account_id=stored,
            **dict.fromkeys(("api_key", "api_key_hint", "api_key_fingerprint"), "same"),
            api_key_replaced_at="2026-03-21T00:00:00Z",
            verification=outcome,
            verification_account_id=answered,
            verification_fingerprint=key,
        )

    call_command("migrate", verbosity=0)

    with database.cursor() as cursor:
        cursor.execute("SELECT verification FROM stripe_connections_stripeconnection ORDER BY id")
        kept = [verification for (verification,) in cursor.fetchall()]
    assert dict(zip(CASES, kept, strict=True)) == CASES
