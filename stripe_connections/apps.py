"""Stripe credentials of workspaces."""

from django.apps import AppConfig
from django.conf import settings


class StripeConnectionsConfig(AppConfig):
    """The app of connections."""

    name = "stripe_connections"
    verbose_name = "Connections"

    def ready(self) -> None:
        """Register the start-up checks, and load now what a request would have to wait for."""
        from stripe_connections import checks  # noqa: F401, PLC0415

        if settings.STRIPE_VERIFY:
            from stripe_connections.stripe_api import client  # noqa: F401, PLC0415
