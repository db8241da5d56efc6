"""Restoring a replaced secret from the history of a connection."""

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from stripe_connections import services
from stripe_connections.admin.actions import apply
from stripe_connections.admin.pages import actor_of, page
from stripe_connections.audit.history import field_label
from stripe_connections.models import ReplacedSecret, StripeConnection
from stripe_connections.undo import replaced


def may_restore(request: HttpRequest) -> bool:
    """Whether the user may change connections and replace their secrets."""
    names = ("change_stripeconnection", "replace_secrets")
    return request.user.has_perms([f"stripe_connections.{name}" for name in names])


def offered(request: HttpRequest, connection: StripeConnection) -> list[ReplacedSecret]:
    """The secrets that the user can restore, without those that are in use again."""
    rows = replaced.restorable().filter(connection=connection) if may_restore(request) else ()
    in_use = (connection.api_key_fingerprint, connection.webhook_secret_fingerprint)
    return [row for row in rows if row.fingerprint not in in_use]


def restore_view(
    staff: ModelAdmin, request: HttpRequest, pk: int, version: int, name: str
) -> HttpResponse:
    """Show what will be restored and ask for confirmation; with it, restore."""
    if not may_restore(request):
        raise PermissionDenied
    rows = replaced.restorable().select_related("connection__workspace__tenant")
    row = get_object_or_404(rows, connection=pk, version=version, field=name)
    seen = request.POST.get("seen_version")

    def step(connection: StripeConnection) -> str:
        services.restore_secret(
            workspace=connection.workspace,
            biz_id=connection.biz_id,
            name=name,
            actor=actor_of(request),
            expected_versions={connection.version} if seen == str(connection.version) else (),
            version=version,
        )
        return "restored"

    if request.method == "POST":
        apply(request, [row.connection], step, ("restored", "failed"), "secret")
        return redirect("admin:stripe_connections_stripeconnection_history", pk)
    label = field_label(name)
    return page(staff, request, "confirm_restore", {"title": f"Restore {label}", "row": row})
