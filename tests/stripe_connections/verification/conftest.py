"""The fixtures for staff users."""

from tests.stripe_connections.admin.conftest import make_staff, staff

__all__ = ["make_staff", "staff"]
