"""The project's settings for servers and commands that must not give up on a busy machine.

SQLite serves those who wait for its lock in no order: one of eight callers can wait for more than
the five seconds after which it is refused.
"""

from django.apps import AppConfig

from config.settings import *  # noqa: F403
from config.settings import DATABASE, INSTALLED_APPS, STRIPE_VERIFY

SECONDS = 60

if "timeout" in DATABASE["OPTIONS"]:
    DATABASE["OPTIONS"]["timeout"] = SECONDS

INSTALLED_APPS = [*INSTALLED_APPS, f"{__name__}.Patience"]


class Patience(AppConfig):
    """Waits for the fake Stripe, which is a thread of the tests."""

    name = "tests"

    def ready(self) -> None:
        if STRIPE_VERIFY:
            from stripe_connections.stripe_api import client, verification

            client.CONNECT_SECONDS = client.READ_SECONDS = SECONDS
            verification.DEADLINE_SECONDS = SECONDS
