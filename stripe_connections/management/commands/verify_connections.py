"""Ask Stripe about the API keys that are stored."""

from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone

from stripe_connections import services
from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.report import Report
from stripe_connections.models import StripeConnection, Verification
from stripe_connections.secrets.fields import decrypted
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.verification import MAX_AT_ONCE, Answer

# About one account; in all, the option says.
ACCOUNT_SECONDS = 1
MAX_HOURS = 24 * 365 * 10
MAX_RATE = 100


class Command(command.BulkCommand):
    """A connection fails whose key is rejected, cannot be read, or could not be told of."""

    help = (
        "Ask Stripe about the stored API keys, and keep what it says. Nothing else changes: no "
        "connection is deactivated. What is known is not asked again within --max-age, so the next "
        "run goes on where one was interrupted. The dry run asks nobody."
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
            help="ask again about what has been known for longer (default: 24)",
        )
        parser.add_argument(
            "--rate",
            type=_rate,
            default=10.0,
            metavar="N",
            help="questions a second (default: 10); about one account there is one at most",
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> dict[str, Any]:
        if not settings.STRIPE_VERIFY:
            raise CommandError("STRIPE_VERIFY is off: nobody asks Stripe.")
        known_since = timezone.now() - options["max_age"]
        outcomes = Counter(dict.fromkeys(Verification.values, 0))
        questions = _Questions(options["rate"])
        try:
            for pks in selection.batches(selection.selected(options), options, report):
                connections = StripeConnection.objects.filter(pk__in=pks).with_tokens()
                rows = connections.order_by("pk")
                wanted = [row for row in rows if _is_wanted(row, known_since, report)]
                report.advance(len(pks) - len(wanted))
                if not options["apply"]:
                    report.counts["unchanged"] += len(wanted)
                    report.advance(len(wanted))
                    continue
                for connection, answer in questions.answered(wanted):
                    outcomes[_keep(connection, answer, actor, report)] += 1
                    report.advance(1)
        finally:
            questions.close()
        if not options["apply"]:
            report.say(f"Stripe would be asked about {report.counts['unchanged']}.")
            return {"toAsk": report.counts["unchanged"]}
        report.say(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
        return {"outcomes": dict(outcomes)}


class _Questions:
    """Asks in a few threads, about each key once, and no faster than it may."""

    def __init__(self, rate: float) -> None:
        self._executor = ThreadPoolExecutor(MAX_AT_ONCE)
        self._gap = 1 / rate
        # When the next question may be asked: about an account, and about any (None).
        self._free_at: dict[str | None, float] = {}
        self._asked: dict[tuple[str | None, str | None], Future[Answer]] = {}

    def answered(
        self, connections: Iterable[StripeConnection]
    ) -> Iterator[tuple[StripeConnection, Answer]]:
        """Each of `connections`, which have tokens, and what Stripe says of its key, in order."""
        pending: deque[tuple[StripeConnection, Future[Answer]]] = deque()
        for connection in connections:
            pending.append((connection, self._ask(connection)))
            if len(pending) > MAX_AT_ONCE:
                first, future = pending.popleft()
                yield first, future.result()
        for connection, future in pending:
            yield connection, future.result()

    def close(self) -> None:
        """Ask no more; what is under way ends within seconds."""
        self._executor.shutdown(cancel_futures=True)

    def _ask(self, connection: StripeConnection) -> Future[Answer]:
        account_id = connection.stripe_account_id
        api_key = decrypted("api_key", connection.api_key_token)  # type: ignore[attr-defined]
        name = (connection.api_key_fingerprint, verification.context_of(api_key, account_id))
        if name not in self._asked:
            self._wait(account_id)
            self._asked[name] = self._executor.submit(verification.ask, api_key, account_id)
        return self._asked[name]

    def _wait(self, account_id: str | None) -> None:
        now = monotonic()
        at = max(now, *(self._free_at.get(name, 0) for name in (None, account_id)))
        sleep(at - now)
        self._free_at = {name: until for name, until in self._free_at.items() if until > at}
        self._free_at[account_id] = at + ACCOUNT_SECONDS
        self._free_at[None] = at + self._gap


def _is_wanted(connection: StripeConnection, known_since: datetime, report: Report) -> bool:
    """Whether Stripe is to be asked; the others are told to the report."""
    outcome = connection.outcome
    is_known = outcome.verification != Verification.UNVERIFIED
    if connection.api_key_fingerprint is None:
        report.row("skipped", connection.biz_id)
    elif connection.is_unreadable("api_key"):
        report.fail(connection.biz_id, "No key of FERNET_KEYS can read: api_key.")
    elif not (is_known and outcome.at and outcome.at > known_since):
        return True
    elif outcome.verification == Verification.REJECTED:
        report.fail(connection.biz_id, _rejection(connection))
    else:
        report.row("skipped", connection.biz_id)
    return False


def _keep(connection: StripeConnection, answer: Answer, actor: Actor, report: Report) -> str:
    """Keep what Stripe says and tell the report; returns the outcome."""
    try:
        kept = services.record_answer(connection.pk, answer, actor)
    except OperationalError:
        report.fail(connection.biz_id, "Somebody else held it too long: run again.")
        return answer.verification
    old = connection.outcome.verification
    new = kept.outcome.verification if kept else answer.verification
    if answer.at is None:
        report.fail(connection.biz_id, "An organisation's key is asked for the account: set one.")
    elif not answer.is_told:
        report.fail(connection.biz_id, "Stripe could not tell: run again.")
    elif kept is None:
        report.row("skipped", connection.biz_id, "It has another key by now.")
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
        return f"The API key is of {other}, not of {connection.stripe_account_id}."
    return "Stripe refuses the API key."


def _hours(text: str) -> timedelta:
    hours = float(text)
    if not 0 <= hours <= MAX_HOURS:
        raise ArgumentTypeError(f"must be between 0 and {MAX_HOURS}")
    return timedelta(hours=hours)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.01 <= rate <= MAX_RATE:  # noqa: PLR2004
        raise ArgumentTypeError(f"must be between 0.01 and {MAX_RATE}")
    return rate
