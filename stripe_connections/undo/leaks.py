"""Secrets that were reported as leaked: nobody can save or restore them again."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from stripe_connections.audit import records
from stripe_connections.audit.records import Actor
from stripe_connections.models import (
    SECRET_FIELDS,
    LeakedSecret,
    ReplacedSecret,
    StripeConnection,
)
from stripe_connections.secrets.columns import digest_of, hint_of
from stripe_connections.secrets.keyring import keyring


class LeakedSecretError(Exception):
    """A secret was reported as leaked: the model's field."""

    def __init__(self, field: str) -> None:
        super().__init__("This secret was reported as leaked. Create a new one in the Dashboard.")
        self.field = field


def refuse_leaked(*rows: Mapping[str, Any]) -> None:
    """Raise a LeakedSecretError if one of the secrets in `rows` was reported as leaked."""
    names = {digest_of(row[name]): name for row in rows for name in SECRET_FIELDS if name in row}
    for leaked in LeakedSecret.objects.filter(pk__in=names):
        raise LeakedSecretError(names[leaked.digest])


def report(secret: str, actor: Actor) -> None:
    """Report a secret as leaked, and erase its kept copies; connections that have it keep it."""
    with transaction.atomic():
        erase(secret)
        _, is_new = LeakedSecret.objects.get_or_create(digest=digest_of(secret))
        if is_new:
            count = StripeConnection.objects.holding(secret).count()
            records.record_leak(count, f"leaked {hint_of(secret)}", actor)


def erase(secret: str) -> None:
    """Delete all kept copies of a secret."""
    ReplacedSecret.objects.filter(fingerprint__in=keyring().fingerprints(secret)).delete()


def lift(secret: str, actor: Actor) -> bool:
    """Let a secret be used again; returns whether it was reported as leaked."""
    with transaction.atomic():
        count, _ = LeakedSecret.objects.filter(digest=digest_of(secret)).delete()
        if count:
            records.record_leak(0, f"not leaked {hint_of(secret)}", actor)
    return bool(count)
