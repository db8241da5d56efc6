"""How a command changes connections: plan, verify, apply and report, batch by batch.

A command provides the batches and a planner, which decides what happens to each row of a batch. The
service layer locks a row, and refuses a plan that was made for an older version of it.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import OperationalError, transaction
from psycopg.errors import LockNotAvailable

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections import services
from stripe_connections.audit.records import Actor
from stripe_connections.bulk.report import Report
from stripe_connections.bulk.verifier import COMMAND_RATE, Verifier
from stripe_connections.models import SECRET_FIELDS, Status, StripeConnection
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply, Request
from stripe_connections.undo.leaks import LeakedSecretError
from stripe_connections.validation.serializers import API_NAMES, ChangesSerializer

# One for all rows: to create a serializer takes a fifth of the time of an import.
_serializer = ChangesSerializer()

HELD = "Another transaction kept the row locked. Run the command again."
CHANGED = "Another transaction changed the row in the meantime. Run the command again."


class RefusedError(CommandError):
    """A value or a row that cannot be used; the message never quotes it."""


@dataclass(frozen=True)
class Plan:
    """What happens to a row: `changes` of its connection, which is unsaved if it is new.

    Without a connection, the row is skipped or, with a `refusal`, has failed.
    """

    biz_id: str | None
    connection: StripeConnection | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    # The line of a file.
    line: int | None = None


Planner = Callable[[Sequence[Any]], Iterable[Plan]]
# Reports a row, once its batch is committed.
Reporter = Callable[[], None]


class Pipeline:
    """Takes batches through all steps, according to the command's options."""

    def __init__(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        self.report, self.actor = report, actor
        self.writes = options["apply"]
        self.allow_mode_change = bool(options.get("allow_mode_change"))
        self.is_restore = bool(options.get("is_restore"))
        self.verifier = Verifier(options.get("rate", COMMAND_RATE))
        self._verifies = settings.STRIPE_VERIFY and self.writes
        # The new connections of a batch, which are saved together.
        self._new: list[services.NewConnection] = []

    @staticmethod
    def add_mode_argument(parser: ArgumentParser) -> None:
        parser.add_argument(
            "--allow-mode-change",
            action="store_true",
            help="with STRIPE_VERIFY: a test key may replace a live key, and vice versa",
        )

    def run(
        self, batches: Iterable[Sequence[Any]], planner: Planner, *, is_whole: bool = False
    ) -> None:
        """Each batch in a transaction, or with `is_whole` all of them in one.

        Verification requests are sent before a transaction begins.
        """
        with closing(self.verifier):
            if is_whole:
                self._run_whole(batches, planner)
                return
            for batch in batches:
                self._verify(batch, planner)
                self._apply(batch, planner)

    def _run_whole(self, batches: Iterable[Sequence[Any]], planner: Planner) -> None:
        """Nothing is kept if a row fails."""
        if self._verifies:
            batches = list(batches)
            # No request is sent for a file that is refused anyway.
            self._verifies = not any(plan.refusal for batch in batches for plan in planner(batch))
            for batch in batches:
                self._verify(batch, planner)
        is_kept = False
        try:
            with transaction.atomic():
                for batch in batches:
                    self._apply(batch, planner)
                    self.writes = self.writes and not self.report.counts["failed"]
                is_kept = not self.report.counts["failed"]
                transaction.set_rollback(not is_kept)
        finally:
            if not is_kept:
                self.report.discard()

    def _verify(self, batch: Sequence[Any], planner: Planner) -> None:
        if not self._verifies:
            return
        for plan in planner(batch):
            # When the plan is carried out, the error is raised again.
            with suppress(RefusedError):
                if plan.connection and (request := self.request(plan.connection, plan.changes)):
                    self.verifier.send(request)
        self.verifier.wait()

    def _apply(self, batch: Sequence[Any], planner: Planner) -> None:
        """Carry out the plans of a batch; if a row is refused, each again in a savepoint.

        A savepoint for each row would be two of its three statements.
        """
        plans = [*planner(batch)]
        planned = {c.pk: c.version for plan in plans if (c := plan.connection)}
        with transaction.atomic():
            try:
                with transaction.atomic():
                    reporters = self._apply_all(plans)
            except RefusedError:
                # The first attempt may have set values of its connections, so plan again.
                again = [_unless_changed(plan, planned) for plan in planner(batch)]
                reporters = [done for plan in again for done in self._apply_alone(plan)]
        for reporter in reporters:
            reporter()
        self.report.advance(len(batch))

    def _apply_alone(self, plan: Plan) -> list[Reporter]:
        try:
            with transaction.atomic():
                return self._apply_all([plan])
        except RefusedError as error:
            return [partial(self.report.fail, plan.biz_id, str(error), plan.line)]

    def _apply_all(self, plans: Iterable[Plan]) -> list[Reporter]:
        self._new = []
        reporters = [self._apply_one(plan) for plan in plans]
        with refusals():
            services.create_connections(self._new, self.actor)
        return reporters

    def _apply_one(self, plan: Plan) -> Reporter:
        if plan.refusal:
            return partial(self.report.fail, plan.biz_id, plan.refusal, plan.line)
        if plan.connection is None:
            return partial(self.report.row, "skipped", plan.biz_id)
        return self.apply(plan.connection, plan)

    def request(self, connection: StripeConnection, changes: Mapping[str, Any]) -> Request | None:
        """The verification request to send before `changes` are written, if any; RefusedError."""
        with refusals():
            return verification.request_of(
                connection, changes, allow_mode_change=self.allow_mode_change
            )

    def reply(self, connection: StripeConnection, changes: Mapping[str, Any]) -> Reply:
        """Stripe's reply about the key of a row; RefusedError."""
        # A dry run, too, refuses a change of mode.
        request = self.request(connection, changes)
        return self.verifier.reply(request) if request and self._verifies else Reply()

    def apply(self, connection: StripeConnection, plan: Plan) -> Reporter:
        """Carry out the plan for a connection; RefusedError."""
        if connection.pk is None:
            return self._create(connection, plan)
        if plan.changes:
            return self._update(connection, plan.changes)
        return partial(self.report.row, "unchanged", connection.biz_id)

    def _create(self, connection: StripeConnection, plan: Plan) -> Reporter:
        reply = self.reply(connection, plan.changes)
        biz_id = plan.biz_id
        if self.writes:
            self._new.append(services.NewConnection(connection, plan.changes, reply))
            biz_id = connection.biz_id
        text = f"new: {plan.changes['connection_name']!r}"
        return partial(self.report.row, "changed", biz_id, text, line=plan.line, isNew=True)

    def _update(self, connection: StripeConnection, changes: Mapping[str, Any]) -> Reporter:
        reply = self.reply(connection, changes)
        shown = {
            API_NAMES[name]: [_named(name, connection.shown(name)), _shown(name, value)]
            for name, value in changes.items()
        }
        if self.writes:
            with refusals():
                saved = services.update_connection(
                    workspace=connection.workspace,
                    biz_id=connection.biz_id,
                    changes=changes,
                    actor=self.actor,
                    expected_versions={connection.version},
                    reply=reply,
                    allow_mode_change=self.allow_mode_change,
                    is_restore=self.is_restore,
                    savepoint=False,
                )
            if reply.at:
                outcomes = (connection.outcome, saved.outcome)
                shown["verification"] = [outcome.verification for outcome in outcomes]
        text = ", ".join(f"{name}: {old!r} -> {new!r}" for name, (old, new) in shown.items())
        return partial(self.report.row, "changed", connection.biz_id, text, changes=shown)


def _unless_changed(plan: Plan, planned: Mapping[int, int]) -> Plan:
    """The plan, or a refusal if its connection has another version than in the first plan."""
    if plan.connection and planned.get(plan.connection.pk) != plan.connection.version:
        return replace(plan, connection=None, refusal=CHANGED)
    return plan


@contextmanager
def refusals() -> Iterator[None]:
    """Raise a RefusedError if a row is not available, or verification does not allow a change."""
    try:
        yield
    except (verification.VerificationError, LeakedSecretError) as error:
        raise RefusedError(f"{API_NAMES[error.field]}: {error}") from None
    except verification.VerificationUnavailableError as error:
        raise RefusedError(f"The key could not be checked. {error}".strip()) from None
    except (services.VersionConflictError, services.ConnectionNotFoundError):
        raise RefusedError(CHANGED) from None
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise RefusedError(HELD) from None
        raise


def planner_of(wanted: Callable[[StripeConnection], Mapping[str, Any] | None]) -> Planner:
    """A planner for primary keys: the `wanted` values of each connection, or None to skip it."""

    def plan(connection: StripeConnection) -> Plan:
        try:
            values = wanted(connection)
        except RefusedError as error:
            return Plan(connection.biz_id, refusal=str(error))
        if values is None:
            return Plan(connection.biz_id)
        return Plan(connection.biz_id, connection, different(connection, values))

    def planner(pks: Sequence[int]) -> Iterator[Plan]:
        connections = StripeConnection.objects.filter(pk__in=pks).order_by("pk")
        return map(plan, connections.select_related("workspace__tenant"))

    return planner


def validated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Columns and their new values, from the API's names and texts; RefusedError."""
    try:
        return _serializer.to_internal_value(values)
    except InvalidFieldsError as error:
        errors = [(entry["field"], entry["message"]) for entry in error.errors or ()]
    raise RefusedError(" ".join(f"{name}: {text}" if name else text for name, text in errors))


def different(connection: StripeConnection, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that differ from the connection's."""
    return {name: new for name, new in values.items() if _differs(connection, name, new)}


def _differs(connection: StripeConnection, name: str, value: Any) -> bool:
    if name in SECRET_FIELDS:
        # The stored secret may be unreadable, so it is not decrypted.
        fingerprint = getattr(connection, f"{name}_fingerprint")
        return fingerprint not in keyring().fingerprints(value)
    return bool(getattr(connection, name) != value)


def _shown(name: str, value: Any) -> Any:
    return hint_of(value) if name in SECRET_FIELDS else _named(name, value)


def _named(name: str, value: Any) -> Any:
    return Status(value).name if name == "status" else value
