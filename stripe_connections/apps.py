"""The Stripe connections of workspaces."""

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models.signals import post_migrate


def analyze(plan: object = "all", using: str = DEFAULT_DB_ALIAS, **_signal: Any) -> None:
    """Collect statistics if `plan` changed something: without them an update takes a third more.

    PostgreSQL itself collects them after about a minute.
    """
    if plan and connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute("ANALYZE")


class StripeConnectionsConfig(AppConfig):
    """Connections, their admin and their checks."""

    name = "stripe_connections"
    verbose_name = "Stripe"

    def ready(self) -> None:
        """Register checks and gauges, and import Stripe's library before a request needs it."""
        from stripe_connections import checks, gauges  # noqa: F401

        post_migrate.connect(analyze, sender=self)

        if settings.STRIPE_VERIFY:
            from stripe_connections.stripe_api import client  # noqa: F401
