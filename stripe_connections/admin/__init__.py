"""The admin pages for connections and their audit; Django imports this package."""

from stripe_connections.admin import audit, connections

__all__ = ["audit", "connections"]
