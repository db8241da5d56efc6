"""What staff do to several connections at once, from the list."""

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from stripe_connections import services
from stripe_connections.admin.pages import actor_of, page
from stripe_connections.audit import records
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

# What one action changes; a command changes more.
MAX_AT_ONCE = 500
# What an action comes to, as it is told.
CHANGED = ("done", "unchanged", "failed")
VERIFIED = ("verified", "restricted", "rejected", "failed")
# A request to Stripe takes up to six seconds, and the proxy in front waits for 30.
MAX_VERIFIED = 20
VERIFYING_SECONDS = 15


@admin.action(description="Activate", permissions=["change"])
def activate(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse | None:
    """Put them into use."""
    return _set_status(staff, request, queryset, Status.ACTIVE, "activate")


@admin.action(description="Deactivate", permissions=["change"])
def deactivate(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse | None:
    """Take them out of use; nothing is lost."""
    return _set_status(staff, request, queryset, Status.INACTIVE, "deactivate")


@admin.action(description="Verify with Stripe", permissions=["change"])
def verify(_staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Verify the stored key of each."""
    end = monotonic() + VERIFYING_SECONDS

    def step(connection: StripeConnection) -> str:
        saved = services.verify_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            actor=actor_of(request),
            deadline=min(DEADLINE_SECONDS, end - monotonic()),
        )
        return saved.outcome.verification

    _apply(request, _few(request, queryset, MAX_VERIFIED), step, VERIFIED)


@admin.action(description="Re-encrypt under the current key", permissions=["change"])
def reencrypt(_staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Bring their secrets under the first of FERNET_KEYS."""

    def step(connection: StripeConnection) -> str:
        is_changed = services.reencrypt_connection(
            workspace=connection.workspace, biz_id=connection.biz_id, actor=actor_of(request)
        )
        return "done" if is_changed else "unchanged"

    _apply(request, _few(request, queryset, MAX_AT_ONCE), step)


@admin.action(description="Export to CSV", permissions=["view"])
def export(
    _staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> StreamingHttpResponse:
    """A file of them, without their secrets."""
    keys = list(queryset.values_list("pk", flat=True))
    rows = queryset.select_related("workspace__tenant").iterator(chunk_size=1_000)
    records.record_export(len(keys), actor_of(request))
    messages.success(request, _summary(Counter(done=len(keys)), CHANGED, []))
    return StreamingHttpResponse(
        csv_lines(map(exported, rows)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="connections.csv"'},
    )


def _set_status(
    staff: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any], status: Status, verb: str
) -> HttpResponse | None:
    """Ask first, with a list of what will be touched; then do it."""

    def step(connection: StripeConnection) -> str:
        if connection.status == status:
            return "unchanged"
        services.update_connection(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            changes={"status": status},
            actor=actor_of(request),
        )
        return "done"

    rows = _few(request, queryset, MAX_AT_ONCE)
    if "confirmed" in request.POST:
        _apply(request, rows, step)
        return None
    context = {
        "title": f"{verb.capitalize()} connections",
        "verb": verb,
        "touched": [row for row in rows if row.status != status],
        "untouched": [row for row in rows if row.status == status],
        "rows": rows,
    }
    return page(staff, request, "confirm_status", context) if rows else None


def _few(
    request: HttpRequest, queryset: QuerySet[StripeConnection], most: int
) -> list[StripeConnection]:
    """What was chosen; nothing, and a message, where that is too much for one request."""
    rows = list(queryset.select_related("workspace__tenant")[: most + 1])
    if len(rows) <= most:
        return rows
    messages.error(request, f"At most {most} connections at once; nothing was changed.")
    return []


def _apply(
    request: HttpRequest,
    rows: list[StripeConnection],
    step: Callable[[StripeConnection], str],
    words: tuple[str, ...] = CHANGED,
) -> None:
    """Do `step` for each, which says in one of `words` what it came to; then say how it went."""
    counts: Counter[str] = Counter()
    named: list[str] = []
    for connection in rows:
        word, reason = _done(step, connection)
        counts[word] += 1
        if reason:
            named.append(f"{connection.biz_id} ({reason})")
    if rows:
        level = messages.WARNING if named else messages.SUCCESS
        messages.add_message(request, level, _summary(counts, words, named))


def _done(step: Callable[[StripeConnection], str], connection: StripeConnection) -> tuple[str, str]:
    """What a step came to, in a word, and why its connection is to be named, if it is."""
    try:
        word = step(connection)
    except UndecryptableSecretError:
        return "failed", "a secret is unreadable"
    except VerificationError as error:
        return "failed", error.message.rstrip(".")
    except VerificationUnavailableError as error:
        return "failed", str(error).rstrip(".")
    except TooManyAttemptsError:
        return "failed", "too many requests"
    except (services.ConnectionNotFoundError, DatabaseError):
        return "failed", "try again"
    return word, word if word == Verification.REJECTED else ""


def _summary(counts: Counter[str], words: tuple[str, ...], named: list[str]) -> str:
    text = ", ".join(f"{counts[word]} {word}" for word in words)
    return f"{text}: {', '.join(named)}." if named else f"{text}."
