"""Actions for the connections that are selected in the list."""

from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.defaultfilters import pluralize

from stripe_connections import services
from stripe_connections.admin.pages import actor_of, page
from stripe_connections.audit import records
from stripe_connections.bulk import rotation
from stripe_connections.bulk.file_formats import csv_lines, exported
from stripe_connections.models import Status, StripeConnection
from stripe_connections.secrets.fields import UndecryptableSecretError
from stripe_connections.stripe_api.replies import Verification
from stripe_connections.stripe_api.verification import (
    DEADLINE_SECONDS,
    TooManyAttemptsError,
    VerificationError,
    VerificationUnavailableError,
)
from stripe_connections.undo.leaks import LeakedSecretError
from stripe_connections.undo.replaced import RestoreError

# An action on more connections asks for confirmation; commands have no limit.
ASK_ABOVE = 500
# The results that an action counts.
ACTIVATED = ("activated", "unchanged", "failed")
DEACTIVATED = ("deactivated", "unchanged", "failed")
REENCRYPTED = ("re-encrypted", "unchanged", "failed")
VERIFIED = ("verified", "restricted", "rejected", "failed")
# A request to Stripe can take six seconds, and the proxy waits for 30.
MAX_VERIFIED = 20
VERIFYING_SECONDS = 15


@admin.action(description="Activate", permissions=["change"])
def activate(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse | None:
    return _set_status(staff, request, queryset, Status.ACTIVE)


@admin.action(description="Deactivate", permissions=["change"])
def deactivate(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse | None:
    return _set_status(staff, request, queryset, Status.INACTIVE)


@admin.action(description="Verify with Stripe", permissions=["verify"])
def verify(_staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Verify the stored keys, in VERIFYING_SECONDS at most."""
    end = monotonic() + VERIFYING_SECONDS

    def step(connection: StripeConnection) -> str:
        saved = services.verify_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            actor=actor_of(request),
            deadline=min(DEADLINE_SECONDS, end - monotonic()),
        )
        return saved.outcome.verification

    rows = list(queryset[: MAX_VERIFIED + 1])
    if len(rows) > MAX_VERIFIED:
        messages.error(request, f"At most {MAX_VERIFIED} connections at once; none was verified.")
    else:
        apply(request, rows, step, VERIFIED)


@admin.action(description="Re-encrypt under the current key", permissions=["change"])
def reencrypt(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse | None:
    """Encrypt the secrets again under the first of FERNET_KEYS."""

    def step(connection: StripeConnection) -> str:
        rows = rotation.reencrypt([connection.pk], actor_of(request))
        if not rows:
            raise services.ConnectionNotFoundError
        if rows[0].unreadable:
            raise UndecryptableSecretError
        return "re-encrypted" if rows[0].is_changed else "unchanged"

    rows = list(queryset)
    if len(rows) > ASK_ABOVE and "confirmed" not in request.POST:
        return _question(staff, request, "re-encrypt", rows)
    apply(request, rows, step, REENCRYPTED)
    return None


@admin.action(description="Export to CSV", permissions=["view"])
def export(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> StreamingHttpResponse | HttpResponse:
    """Download the connections, without their secrets."""
    count = queryset.count()
    if count > ASK_ABOVE and "confirmed" not in request.POST:
        return _question(staff, request, "export", list(queryset))
    records.record_export(count, actor_of(request))
    messages.success(request, f"{count} connection{pluralize(count)} exported.")
    return StreamingHttpResponse(
        csv_lines(map(exported, queryset.iterator(chunk_size=1_000))),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="connections.csv"'},
    )


def _set_status(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any], status: Status
) -> HttpResponse | None:
    """Ask for confirmation; with it, change the status."""
    results = ACTIVATED if status else DEACTIVATED

    def step(connection: StripeConnection) -> str:
        if connection.status == status:
            return "unchanged"
        services.update_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            changes={"status": status},
            actor=actor_of(request),
        )
        return results[0]

    rows = list(queryset)
    if "confirmed" in request.POST:
        apply(request, rows, step, results)
        return None
    unchanged = [row for row in rows if row.status == status]
    verb = "activate" if status else "deactivate"
    return _question(staff, request, verb, rows, unchanged)


def _question(
    staff: ModelAdmin,
    request: HttpRequest,
    verb: str,
    rows: list[StripeConnection],
    unchanged: Sequence[StripeConnection] = (),
) -> HttpResponse:
    """The page that lists what will change and asks for confirmation."""
    context = {
        "title": f"{verb.capitalize()} connections",
        "verb": verb,
        "changing": [row for row in rows if row not in unchanged],
        "unchanged": unchanged,
        "rows": rows,
    }
    return page(staff, request, "confirm", context)


def apply(
    request: HttpRequest,
    rows: list[StripeConnection],
    step: Callable[[StripeConnection], str],
    results: tuple[str, ...],
    noun: str = "connection",
) -> None:
    """Do `step`, which returns one of `results`, for each row; report how many had which."""
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for connection in rows:
        result, problem = _done(step, connection)
        counts[result] += 1
        if problem:
            problems.append(f"{connection.biz_id} ({problem})")
    if rows:
        summary = _summary([(counts[name], name) for name in results if counts[name]], noun)
        details = f": {', '.join(problems)}" if problems else ""
        level = messages.WARNING if problems else messages.SUCCESS
        messages.add_message(request, level, f"{summary}{details}.")


def _summary(results: list[tuple[int, str]], noun: str) -> str:
    """Such as "2 connections activated, 1 unchanged"."""
    (count, first), *others = results
    counted = "" if first == "failed" else f"{noun}{pluralize(count)} "
    return ", ".join([f"{count} {counted}{first}", *(f"{n} {result}" for n, result in others)])


def _done(step: Callable[[StripeConnection], str], connection: StripeConnection) -> tuple[str, str]:
    """The result of a step, and the problem with the connection if there is one."""
    try:
        result = step(connection)
    except UndecryptableSecretError:
        return "failed", "a secret is unreadable"
    except (
        VerificationError,
        VerificationUnavailableError,
        RestoreError,
        LeakedSecretError,
    ) as error:
        return "failed", str(error).rstrip(".")
    except TooManyAttemptsError:
        return "failed", "too many requests"
    except (services.ConnectionNotFoundError, services.VersionConflictError, DatabaseError):
        return "failed", "try again"
    return result, result if result == Verification.REJECTED else ""
