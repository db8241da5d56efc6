"""What a command changes of a connection: checked as the API does, told as old and new."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from django.core.management.base import CommandError
from django.db import OperationalError, transaction

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections import services
from stripe_connections.api.serializers import StatusField, UpdateConnectionSerializer
from stripe_connections.audit.records import Actor
from stripe_connections.bulk import selection
from stripe_connections.bulk.report import Report
from stripe_connections.models import (
    SECRET_FIELDS,
    Reply,
    Status,
    StripeConnection,
    StripeConnectionQuerySet,
)
from stripe_connections.secrets.hints import SecretTraces
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api.verification import (
    VerificationError,
    VerificationUnavailableError,
    Verifier,
)


class RefusedError(CommandError):
    """A value or a row that cannot be used; the text says why and repeats nothing of it."""


class ChangesSerializer(UpdateConnectionSerializer):
    """The fields of the update call, and the status, which is the operators' alone."""

    ignored_names: ClassVar[frozenset[str]] = frozenset()

    connectionBizId = None  # type: ignore[assignment]  # noqa: N815 - takes the field away
    status = StatusField(required=False)


# Column to the API's name.
API_NAMES = {str(field.source): name for name, field in ChangesSerializer().fields.items()}
SECRET_NAMES = tuple(API_NAMES[name] for name in SECRET_FIELDS)


def validated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Columns and their new values, from the API's names and texts; RefusedError."""
    try:
        return ChangesSerializer().to_internal_value(values)
    except InvalidFieldsError as error:
        found = [(entry["field"], entry["message"]) for entry in error.errors or ()]
    raise RefusedError(" ".join(f"{name}: {text}" if name else text for name, text in found))


def change_each(
    connections: StripeConnectionQuerySet,
    wanted: Callable[[StripeConnection], Mapping[str, Any] | None],
    report: Report,
    actor: Actor,
    options: dict[str, Any],
) -> None:
    """Change of each locked row what is `wanted`, in batches; None skips it, RefusedError fails.

    New keys and accounts of a batch are verified before its rows are locked.
    """
    allow_mode_change = bool(options.get("allow_mode_change"))
    verifier = Verifier(is_on=options["apply"], allow_mode_change=allow_mode_change)
    for pks in selection.batches(connections, options, report):
        verifier.prepare(_wanted_changes(pks, wanted))
        with transaction.atomic():
            for connection in _locked(pks, report):
                try:
                    changes = wanted(connection)
                    if changes is None:
                        report.row("skipped", connection.biz_id)
                        continue
                    change(
                        report, connection, changes, actor, verifier, is_applied=options["apply"]
                    )
                except RefusedError as error:
                    report.fail(connection.biz_id, str(error))
        report.advance(len(pks))


def _wanted_changes(
    pks: Sequence[int], wanted: Callable[[StripeConnection], Mapping[str, Any] | None]
) -> Iterator[tuple[StripeConnection, dict[str, Any]]]:
    for connection in StripeConnection.objects.filter(pk__in=pks).order_by("pk"):
        with suppress(RefusedError):
            yield connection, different(connection, wanted(connection) or {})


def judged(verifier: Verifier, connection: StripeConnection, new: Mapping[str, Any]) -> Reply:
    """Stripe's reply for a locked row; RefusedError if it rules `new` values out."""
    try:
        return verifier.reply(connection, new)
    except VerificationError as error:
        raise RefusedError(f"{API_NAMES[error.field]}: {error.message}") from None
    except VerificationUnavailableError:
        raise RefusedError("Stripe did not say whether the key works: run again.") from None


def _locked(pks: Sequence[int], report: Report) -> list[StripeConnection]:
    """These connections with workspace and tenant, in order, locked to the transaction's end.

    One that somebody else keeps locked for LOCK_TIMEOUT_SECONDS is left out and told as failed.
    """
    connections = StripeConnection.objects.filter(pk__in=pks).order_by("pk")
    connections = connections.select_related("workspace__tenant")
    try:
        with transaction.atomic():
            return list(connections.for_update(services.lock_timeout()))
    except OperationalError:
        # SQLite locks the whole database, and before this transaction has begun.
        free = list(connections.select_for_update(of=("self",), skip_locked=True))
    for connection in connections.exclude(pk__in=[connection.pk for connection in free]):
        report.fail(connection.biz_id, "Somebody else held it too long: run again.")
    return free


def change(  # noqa: PLR0913 - what is done, where, by whom
    report: Report,
    connection: StripeConnection,
    changes: Mapping[str, Any],
    actor: Actor,
    verifier: Verifier,
    *,
    is_applied: bool,
) -> None:
    """Write those of `changes` that change something, if `is_applied`, and tell the report.

    The connection must be locked, so that what is told as the old value is what was replaced.
    RefusedError if Stripe's reply rules it out.
    """
    new = different(connection, changes)
    if not new:
        report.row("unchanged", connection.biz_id)
        return
    reply = judged(verifier, connection, new)
    told = {API_NAMES[n]: [_named(n, connection.shown(n)), _shown(n, v)] for n, v in new.items()}
    if is_applied:
        saved = services.update_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            changes=new,
            actor=actor,
            reply=reply,
            allow_mode_change=verifier.allow_mode_change,
        )
        if reply.at:
            told["verification"] = [connection.outcome.verification, saved.outcome.verification]
    text = ", ".join(f"{name}: {old!r} -> {value!r}" for name, (old, value) in told.items())
    report.row("changed", connection.biz_id, text, changes=told)


def different(connection: StripeConnection, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `changes` that would change something."""
    return {n: v for n, v in changes.items() if _differs(connection, n, v)}


def _shown(name: str, value: Any) -> Any:
    return SecretTraces.of(value).hint if name in SECRET_FIELDS else _named(name, value)


def _named(name: str, value: Any) -> Any:
    return Status(value).name if name == "status" else value


def _differs(connection: StripeConnection, name: str, value: Any) -> bool:
    if name in SECRET_FIELDS:
        # Without decrypting the old one, which may be unreadable.
        fingerprint = getattr(connection, f"{name}_fingerprint")
        return fingerprint not in keyring().fingerprints(value)
    return bool(getattr(connection, name) != value)
