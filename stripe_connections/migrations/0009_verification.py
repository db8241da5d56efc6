"""`narrow` becomes `restricted`, and what is stored is about the stored key and account."""

from typing import Any

from django.db import migrations, models
from django.db.models import Case, F, Q, Value, When

from stripe_connections.secrets.fields import EncryptedTextField


def keep_what_applies(apps: Any, schema_editor: Any) -> None:
    """Reset what Stripe said about another key or account, and rename `narrow`."""
    connections = apps.get_model("stripe_connections", "StripeConnection").objects
    same_key = Q(api_key__isnull=False, verification_fingerprint=F("api_key_fingerprint"))
    any_account = Q(stripe_account_id__isnull=True)
    same_account = Q(stripe_account_id=F("verification_account_id"))
    no_account = Q(verification_account_id__isnull=True)
    applies = same_key & (
        Q(verification__in=["narrow", "unverified"])
        | Q(verification="verified", verification_account_id__isnull=False)
        & (any_account | same_account)
        | Q(verification="rejected") & (no_account | ~any_account & ~same_account)
    )
    kept = connections.filter(applies).values("pk")
    connections.exclude(pk__in=kept).update(
        verification="unverified",
        verification_at=None,
        verification_account_id=None,
        missing_permission=None,
    )
    connections.filter(verification="narrow").update(verification="restricted")
    check_foreign_keys(schema_editor)


def restore(apps: Any, schema_editor: Any) -> None:
    """The stored reply is about the stored key."""
    connections = apps.get_model("stripe_connections", "StripeConnection").objects
    connections.update(
        verification_fingerprint=F("api_key_fingerprint"),
        verification=Case(
            When(verification="restricted", then=Value("narrow")), default=F("verification")
        ),
    )
    check_foreign_keys(schema_editor)


def check_foreign_keys(schema_editor: Any) -> None:
    """Check them now: PostgreSQL alters no table that has checks left for the commit."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class Migration(migrations.Migration):
    dependencies = [("stripe_connections", "0008_bind_secrets")]

    operations = [
        migrations.RemoveConstraint("stripeconnection", "connection_verification"),
        migrations.RunPython(keep_what_applies, restore),
        migrations.RemoveField("stripeconnection", "verification_fingerprint"),
        migrations.AddField(
            "stripeconnection",
            "verification_cause",
            models.CharField(editable=False, max_length=32, null=True),
        ),
        migrations.AlterField(
            "stripeconnection",
            "missing_permission",
            models.CharField(editable=False, max_length=1000, null=True),
        ),
        migrations.AlterField(
            "stripeconnection",
            "verification",
            models.CharField(
                choices=[
                    ("verified", "Verified"),
                    ("restricted", "Restricted"),
                    ("rejected", "Rejected"),
                    ("unverified", "Unverified"),
                ],
                db_default="unverified",
                default="unverified",
                editable=False,
                max_length=10,
            ),
        ),
        migrations.AlterField(
            "stripeconnection",
            "api_key",
            EncryptedTextField("API key", max_length=1024, null=True, blank=True),
        ),
        migrations.AlterField(
            "stripeconnection",
            "webhook_secret",
            EncryptedTextField("webhook signing secret", max_length=1024, null=True, blank=True),
        ),
        migrations.AddConstraint(
            "stripeconnection",
            models.CheckConstraint(
                name="connection_verification",
                condition=Q(
                    verification__in=["verified", "restricted", "rejected", "unverified"]
                ),
            ),
        ),
        migrations.AddConstraint(
            "stripeconnection",
            models.CheckConstraint(
                name="connection_verified_key",
                condition=Q(verification="unverified") | Q(api_key__isnull=False),
            ),
        ),
        migrations.AddConstraint(
            "stripeconnection",
            models.CheckConstraint(
                name="connection_verified_account",
                condition=Q(verification__in=["rejected", "unverified"])
                | Q(stripe_account_id__isnull=True)
                | Q(verification="restricted", verification_account_id__isnull=True)
                | Q(
                    verification_account_id__isnull=False,
                    verification_account_id=F("stripe_account_id"),
                ),
            ),
        ),
    ]
