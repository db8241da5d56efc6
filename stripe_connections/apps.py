"""Stripe credentials of workspaces."""

from django.apps import AppConfig


class StripeConnectionsConfig(AppConfig):
    """The app of connections."""

    name = "stripe_connections"
    verbose_name = "Connections"

    def ready(self) -> None:
        """Register the start-up checks."""
        from stripe_connections import checks  # noqa: F401, PLC0415
