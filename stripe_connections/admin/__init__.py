"""Staff find and mend connections in Django's admin, which looks for its pages here."""

from stripe_connections.admin import audit, connections

__all__ = ["audit", "connections"]
