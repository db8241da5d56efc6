"""Verify the stored API keys with Stripe, and store the outcome.

Nothing else changes: no connection is deactivated. A key that was verified within --max-age is
not verified again, so the next run continues an interrupted one. The dry run sends no requests.
A connection fails if its key is rejected or cannot be decrypted, or if Stripe did not answer.

Examples:
  manage.py verify_connections
  manage.py verify_connections --apply
  manage.py verify_connections --apply --tenant tn_xyz789 --max-age 0 --rate 2
"""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from stripe_connections import services
from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.pipeline import (
    Pipeline,
    Plan,
    RefusedError,
    Reporter,
    planner_of,
    refusals,
)
from stripe_connections.bulk.report import Report
from stripe_connections.bulk.verifier import COMMAND_RATE
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply, Request, Verification

MAX_HOURS = 24 * 365 * 10
MAX_RATE = 100


class Command(command.BulkCommand):
    # Replies are stored after so many requests.
    batch_size = 50

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--max-age",
            type=command.number(float, 0, MAX_HOURS),
            default=24,
            metavar="HOURS",
            help="verify a key again after this time (default: 24)",
        )
        parser.add_argument(
            "--rate",
            type=command.number(float, 0.01, MAX_RATE),
            default=COMMAND_RATE,
            metavar="N",
            help="requests per second (default: 10), at most one of them about the same account",
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> dict[str, Any]:
        if not settings.STRIPE_VERIFY:
            raise CommandError("STRIPE_VERIFY is off: no key is verified.")
        now = timezone.now()
        verified_since = now - timedelta(hours=options["max_age"])

        def wanted(connection: StripeConnection) -> dict[str, Any] | None:
            outcome = connection.outcome
            if connection.api_key_fingerprint is None:
                return None
            if not (outcome.is_conclusive and outcome.at and verified_since < outcome.at <= now):
                return {}
            if outcome.verification == Verification.REJECTED:
                raise RefusedError(outcome.rejection(connection.stripe_account_id))
            return None

        pipeline = _VerifyStored(report, actor, options)
        pipeline.run(
            selection.batches(selection.selected(options), options, report), planner_of(wanted)
        )
        if not options["apply"]:
            report.text(f"Requests to Stripe: {report.counts['unchanged']}.")
            return {"toVerify": report.counts["unchanged"]}
        counts = pipeline.outcomes
        report.text(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
        return {"outcomes": dict(counts)}


class _VerifyStored(Pipeline):
    """Verifies the stored keys instead of new ones, and stores the replies."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.outcomes = Counter(dict.fromkeys(Verification.values, 0))

    def request(self, connection: StripeConnection, changes: Mapping[str, Any]) -> Request:
        try:
            return verification.stored_request(connection)
        except verification.VerificationError as error:
            raise RefusedError(error.message) from None

    def apply(self, connection: StripeConnection, plan: Plan) -> Reporter:
        if not self.writes:
            return partial(self.report.row, "unchanged", connection.biz_id)
        reply = self.reply(connection, {})
        with refusals():
            kept = services.record_reply(connection.pk, reply, self.actor)
        return partial(self._report, connection, reply, kept)

    def _report(
        self, connection: StripeConnection, reply: Reply, kept: StripeConnection | None
    ) -> None:
        biz_id, old = connection.biz_id, connection.outcome.verification
        new = kept.outcome.verification if kept else reply.verification
        self.outcomes[new] += 1
        if kept and new == Verification.REJECTED:
            self.report.fail(biz_id, kept.outcome.rejection(kept.stripe_account_id))
        elif kept and new == old:
            self.report.row("unchanged", biz_id)
        elif kept:
            changes = {"verification": [old, new]}
            self.report.row("changed", biz_id, f"{old} -> {new}", changes=changes)
        elif reply.fingerprints and not reply.is_conclusive:
            self.report.fail(biz_id, reply.explanation)
        else:
            self.report.row("skipped", biz_id, "Its key was replaced in the meantime.")
