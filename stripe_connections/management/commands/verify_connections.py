"""Verify the stored API keys with Stripe."""

from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone

from stripe_connections import services
from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.report import Report
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.replies import Reply, Verification
from stripe_connections.stripe_api.verification import (
    COMMAND_RATE,
    MAX_AT_ONCE,
    VerificationError,
    Verifier,
    stored_subject,
)

MAX_HOURS = 24 * 365 * 10
MAX_RATE = 100


class Command(command.BulkCommand):
    """A connection fails if its key is rejected or unreadable, or Stripe did not say."""

    help = (
        "Verify the stored API keys with Stripe, and write what it says. Nothing else changes: no "
        "connection is deactivated. What is known is not verified again within --max-age, so the "
        "next run continues an interrupted one. The dry run sends no request."
    )
    examples = """
verify_connections
verify_connections --apply
verify_connections --apply --tenant tn_xyz789 --max-age 0 --rate 2
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--max-age",
            type=_hours,
            default=timedelta(days=1),
            metavar="HOURS",
            help="verify again what has been known for longer (default: 24)",
        )
        parser.add_argument(
            "--rate",
            type=_rate,
            default=COMMAND_RATE,
            metavar="N",
            help="requests a second (default: 10); one at most about the same account",
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> dict[str, Any]:
        if not settings.STRIPE_VERIFY:
            raise CommandError("STRIPE_VERIFY is off: nothing is verified.")
        known_since = timezone.now() - options["max_age"]
        outcomes = Counter(dict.fromkeys(Verification.values, 0))
        verifier = Verifier(rate=options["rate"])
        try:
            for pks in selection.batches(selection.selected(options), options, report):
                rows = StripeConnection.objects.filter(pk__in=pks).order_by("pk")
                wanted = [row for row in rows if _is_wanted(row, known_since, report)]
                report.advance(len(pks) - len(wanted))
                if not options["apply"]:
                    report.counts["unchanged"] += len(wanted)
                    report.advance(len(wanted))
                    continue
                for connection, reply in _replies(wanted, verifier, report):
                    outcomes[_keep(connection, reply, actor, report)] += 1
                    report.advance(1)
        finally:
            verifier.close()
        if not options["apply"]:
            report.say(f"Requests to Stripe: {report.counts['unchanged']}.")
            return {"toVerify": report.counts["unchanged"]}
        report.say(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
        return {"outcomes": dict(outcomes)}


def _replies(
    connections: Iterable[StripeConnection], verifier: Verifier, report: Report
) -> Iterator[tuple[StripeConnection, Reply]]:
    """Each of `connections` whose key can be verified, and what Stripe says, in order."""
    pending: deque[tuple[StripeConnection, Future[Reply]]] = deque()
    for connection in connections:
        try:
            pending.append((connection, verifier.send(stored_subject(connection))))
        except VerificationError as error:
            report.fail(connection.biz_id, error.message)
            report.advance(1)
        if len(pending) > MAX_AT_ONCE:
            first, future = pending.popleft()
            yield first, future.result()
    for connection, future in pending:
        yield connection, future.result()


def _is_wanted(connection: StripeConnection, known_since: datetime, report: Report) -> bool:
    """Whether its key must be verified; the others are reported."""
    outcome = connection.outcome
    if connection.api_key_fingerprint is None:
        report.row("skipped", connection.biz_id)
    elif not (outcome.is_conclusive and outcome.at and outcome.at > known_since):
        return True
    elif outcome.verification == Verification.REJECTED:
        report.fail(connection.biz_id, _rejection(connection))
    else:
        report.row("skipped", connection.biz_id)
    return False


def _keep(connection: StripeConnection, reply: Reply, actor: Actor, report: Report) -> str:
    """Write and report what Stripe says; returns the outcome."""
    try:
        kept = services.record_reply(connection.pk, reply, actor)
    except OperationalError:
        report.fail(connection.biz_id, "Somebody else held it too long: run again.")
        return reply.verification
    old = connection.outcome.verification
    new = kept.outcome.verification if kept else reply.verification
    if not reply.is_conclusive:
        report.fail(connection.biz_id, reply.explanation)
    elif kept is None:
        report.row("skipped", connection.biz_id, "Its key was replaced meanwhile.")
    elif new == Verification.REJECTED:
        report.fail(connection.biz_id, _rejection(kept))
    elif new == old:
        report.row("unchanged", connection.biz_id)
    else:
        changes = {"verification": [old, new]}
        report.row("changed", connection.biz_id, f"{old} -> {new}", changes=changes)
    return new


def _rejection(connection: StripeConnection) -> str:
    other = connection.outcome.account_id
    if other:
        return f"The API key belongs to {other}, not to {connection.stripe_account_id}."
    return connection.outcome.explanation or "Stripe rejects the API key."


def _hours(text: str) -> timedelta:
    hours = float(text)
    if not 0 <= hours <= MAX_HOURS:
        raise ArgumentTypeError(f"must be between 0 and {MAX_HOURS}")
    return timedelta(hours=hours)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.01 <= rate <= MAX_RATE:
        raise ArgumentTypeError(f"must be between 0.01 and {MAX_RATE}")
    return rate
