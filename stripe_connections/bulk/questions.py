"""What a command asks Stripe, before it locks the rows that it changes."""

from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.utils import timezone

from stripe_connections.audit.records import Actor
from stripe_connections.models import StripeConnection
from stripe_connections.secrets.hints import SecretTraces
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.verification import Answer, VerificationError


def add_argument(parser: ArgumentParser) -> None:
    """The option that confirms a swap."""
    parser.add_argument(
        "--allow-mode-change",
        action="store_true",
        help="where Stripe is asked: a test key may take a live key's place, and the other way "
        "round",
    )


class Questions:
    """Asks about each key once in a run; nobody without STRIPE_VERIFY."""

    def __init__(self, actor: Actor, *, is_applied: bool, confirms_mode: bool = False) -> None:
        self.are_asked = bool(settings.STRIPE_VERIFY and is_applied)
        self.confirms_mode = confirms_mode
        self._actor = actor
        # By the key's fingerprint and, for one of an organisation, by the account.
        self._answers: dict[tuple[str, str | None], Answer] = {}

    def ask(self, connection: StripeConnection, new: Mapping[str, Any]) -> None:
        """Ask what must be known before `new` values are written; in no transaction."""
        key = _key(connection, new)
        if not self.are_asked or key is None or key in self._answers:
            return
        # Swapped modes are told of when the row is judged.
        with suppress(VerificationError):
            self._answers[key] = verification.ask_about(
                connection, new, actor=self._actor, confirms_mode=self.confirms_mode
            )

    def judge(self, connection: StripeConnection, new: Mapping[str, Any]) -> Answer:
        """Stripe's answer for a locked row; VerificationError where it speaks against `new`.

        VerificationUnavailableError where it could not be told and must be, also because the row
        has got another key since it was asked about.
        """
        if not settings.STRIPE_VERIFY:
            return Answer()
        untold = Answer(at=timezone.now()) if self.are_asked else Answer()
        key = _key(connection, new)
        answer = self._answers.get(key, untold) if key else Answer()
        verification.judged(answer, connection, new, confirms_mode=self.confirms_mode)
        return answer


def _key(connection: StripeConnection, new: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """What tells the question about a row from others; None where there is none to be asked."""
    hint, fingerprint = connection.api_key_hint, connection.api_key_fingerprint
    if "api_key" in new:
        traces = SecretTraces.of(new["api_key"])
        hint, fingerprint = traces.hint, traces.fingerprint
    elif not new.get("stripe_account_id"):
        return None
    if not (hint and fingerprint):
        return None
    account_id = new.get("stripe_account_id", connection.stripe_account_id)
    return fingerprint, account_id if hint.startswith("sk_org_") else None
