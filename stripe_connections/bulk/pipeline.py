"""How a command changes connections: plan, verify, lock, apply and report, batch by batch.

A command gives the batches and a planner, which says what becomes of each row of a batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import CommandError
from django.db import OperationalError, transaction

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections import services
from stripe_connections.audit.records import Actor
from stripe_connections.bulk.report import Report
from stripe_connections.models import (
    SECRET_FIELDS,
    Status,
    StripeConnection,
    StripeConnectionQuerySet,
)
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api.replies import Reply
from stripe_connections.stripe_api.verification import (
    VerificationError,
    VerificationUnavailableError,
    Verifier,
)
from stripe_connections.validation.serializers import API_NAMES, ChangesSerializer

HELD = "Somebody else held it too long: run again."


class RefusedError(CommandError):
    """A value or a row that cannot be used; the message says why, without quoting it."""


@dataclass(frozen=True)
class Plan:
    """What becomes of a row: `changes` of its connection, which is unsaved if it is a new one.

    Without a connection the row is skipped or, with a `refusal`, has failed.
    """

    biz_id: str | None
    connection: StripeConnection | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    # Of a file.
    line: int | None = None


# Called with a batch and with `is_locked`: whether its connections must be locked to the end of the
# transaction.
Planner = Callable[..., Iterable[Plan]]


class Pipeline:
    """Takes batches through all steps, as the options say."""

    def __init__(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        allow_mode_change = bool(options.get("allow_mode_change"))
        self._report, self._actor = report, actor
        self._writes = options["apply"]
        self._verifier = Verifier(is_on=self._writes, allow_mode_change=allow_mode_change)

    def run(self, batches: Iterable[Sequence[Any]], planner: Planner) -> None:
        """Each batch in its own transaction, before which new keys and accounts are verified."""
        for batch in batches:
            self._verify(batch, planner)
            self._apply(batch, planner)

    def run_whole(self, batches: Iterable[Sequence[Any]], planner: Planner) -> None:
        """All batches in one transaction, of which nothing is kept if a row fails."""
        if self._verifier.is_on:
            # Not inside the transaction, and not for a file that is refused anyway.
            batches = list(batches)
            self._verifier.is_on = not any(
                plan.refusal for batch in batches for plan in planner(batch, is_locked=False)
            )
            for batch in batches:
                self._verify(batch, planner)
        is_kept = False
        try:
            with transaction.atomic():
                for batch in batches:
                    self._apply(batch, planner)
                    self._writes = self._writes and not self._report.counts["failed"]
                is_kept = not self._report.counts["failed"]
                transaction.set_rollback(not is_kept)
        finally:
            if not is_kept:
                self._report.discard()

    def _verify(self, batch: Sequence[Any], planner: Planner) -> None:
        if self._verifier.is_on:
            self._verifier.prepare(
                (plan.connection, different(plan.connection, plan.changes))
                for plan in planner(batch, is_locked=False)
                if plan.connection
            )

    def _apply(self, batch: Sequence[Any], planner: Planner) -> None:
        with transaction.atomic():
            for plan in planner(batch, is_locked=True):
                try:
                    self._apply_one(plan)
                except RefusedError as error:
                    self._report.fail(plan.biz_id, str(error), plan.line)
        self._report.advance(len(batch))

    def _apply_one(self, plan: Plan) -> None:
        if plan.refusal:
            raise RefusedError(plan.refusal)
        if plan.connection is None:
            self._report.row("skipped", plan.biz_id)
        elif plan.connection.pk is None:
            self._create(plan.connection, plan)
        elif new := different(plan.connection, plan.changes):
            self._update(plan.connection, new)
        else:
            self._report.row("unchanged", plan.biz_id)

    def _create(self, connection: StripeConnection, plan: Plan) -> None:
        reply = self._reply(connection, plan.changes)
        biz_id = plan.biz_id
        if self._writes:
            created = services.create_connection(
                workspace=connection.workspace,
                values=plan.changes,
                actor=self._actor,
                biz_id=biz_id,
                reply=reply,
            )
            biz_id = created.biz_id
        name = plan.changes["connection_name"]
        self._report.row("changed", biz_id, f"new: {name!r}", line=plan.line, isNew=True)

    def _update(self, connection: StripeConnection, new: Mapping[str, Any]) -> None:
        """Write `new` values over those of a locked connection, and report both."""
        reply = self._reply(connection, new)
        shown = {
            API_NAMES[n]: [_named(n, connection.shown(n)), _shown(n, v)] for n, v in new.items()
        }
        if self._writes:
            saved = services.update_connection(
                workspace=connection.workspace,
                biz_id=connection.biz_id,
                changes=new,
                actor=self._actor,
                reply=reply,
                allow_mode_change=self._verifier.allow_mode_change,
            )
            if reply.at:
                shown["verification"] = [
                    connection.outcome.verification,
                    saved.outcome.verification,
                ]
        text = ", ".join(f"{name}: {old!r} -> {value!r}" for name, (old, value) in shown.items())
        self._report.row("changed", connection.biz_id, text, changes=shown)

    def _reply(self, connection: StripeConnection, new: Mapping[str, Any]) -> Reply:
        """Stripe's reply for a locked row; RefusedError if it rules `new` values out."""
        try:
            return self._verifier.reply(connection, new)
        except VerificationError as error:
            raise RefusedError(f"{API_NAMES[error.field]}: {error.message}") from None
        except VerificationUnavailableError as error:
            raise RefusedError(f"The key could not be checked. {error}".strip()) from None


def planner_of(wanted: Callable[[StripeConnection], Mapping[str, Any] | None]) -> Planner:
    """Plans what is `wanted` for the connections of some primary keys; None skips one."""

    def planner(pks: Sequence[int], *, is_locked: bool) -> Iterator[Plan]:
        connections = StripeConnection.objects.filter(pk__in=pks).order_by("pk")
        free, held = loaded(connections, is_locked=is_locked)
        yield from (Plan(connection.biz_id, refusal=HELD) for connection in held)
        for connection in free:
            try:
                changes = wanted(connection)
            except RefusedError as error:
                yield Plan(connection.biz_id, refusal=str(error))
            else:
                is_skipped = changes is None
                yield Plan(connection.biz_id, None if is_skipped else connection, changes or {})

    return planner


def loaded(
    connections: StripeConnectionQuerySet, *, is_locked: bool
) -> tuple[list[StripeConnection], list[StripeConnection]]:
    """With workspace and tenant: the rows that are free, and those that somebody else holds.

    With `is_locked`, which needs a transaction, the free ones are locked to its end. A row is held
    if it cannot be locked within LOCK_TIMEOUT_SECONDS.
    """
    connections = connections.select_related("workspace__tenant")
    if not is_locked:
        return list(connections), []
    try:
        with transaction.atomic():
            return list(connections.for_update(services.lock_timeout())), []
    except OperationalError:
        # SQLite locks the whole database, and before this transaction has begun.
        free = list(connections.select_for_update(of=("self",), skip_locked=True))
    return free, list(connections.exclude(pk__in=[connection.pk for connection in free]))


def validated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Columns and their new values, from the API's names and texts; RefusedError."""
    try:
        return ChangesSerializer().to_internal_value(values)
    except InvalidFieldsError as error:
        found = [(entry["field"], entry["message"]) for entry in error.errors or ()]
    raise RefusedError(" ".join(f"{name}: {text}" if name else text for name, text in found))


def different(connection: StripeConnection, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `changes` that would change something."""
    return {n: v for n, v in changes.items() if _differs(connection, n, v)}


def _differs(connection: StripeConnection, name: str, value: Any) -> bool:
    if name in SECRET_FIELDS:
        # Without decrypting the old one, which may be unreadable.
        fingerprint = getattr(connection, f"{name}_fingerprint")
        return fingerprint not in keyring().fingerprints(value)
    return bool(getattr(connection, name) != value)


def _shown(name: str, value: Any) -> Any:
    return hint_of(value) if name in SECRET_FIELDS else _named(name, value)


def _named(name: str, value: Any) -> Any:
    return Status(value).name if name == "status" else value
