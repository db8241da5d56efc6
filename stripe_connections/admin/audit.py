"""The audit of all connections, which nobody can change."""

from datetime import datetime
from typing import Any

from auditlog.models import LogEntry
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from stripe_connections.admin import listing
from stripe_connections.audit import history
from stripe_connections.audit.history import Entry

# django-auditlog's page shows less and allows more.
admin.site.unregister(LogEntry)


class AuditRecord(LogEntry):
    """A LogEntry under the name that the pages show."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "record"
        verbose_name_plural = "audit"


@admin.register(AuditRecord)
class AuditAdmin(listing.BoundedListAdmin):
    """The list of all records; a single record has no page."""

    list_display = ("time", "connection", "user", "source", "changed", "request_id")
    list_display_links = None
    list_filter = (listing.UserFilter, listing.DayFilter, listing.FieldFilter)
    sortable_by = ()
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        return history.records()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may view connections; false for a single record."""
        return obj is None and request.user.has_perm("stripe_connections.view_stripeconnection")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_add_permission

    def time(self, record: LogEntry) -> datetime:
        return Entry.of(record).time

    def connection(self, record: LogEntry) -> str | SafeString:
        if record.object_id is None:
            return str(record.object_repr)
        url = reverse("admin:stripe_connections_stripeconnection_change", args=[record.object_id])
        return format_html('<a href="{}">{}</a>', url, record.object_repr)

    def user(self, record: LogEntry) -> str:
        return Entry.of(record).username

    def source(self, record: LogEntry) -> str:
        return Entry.of(record).source

    @admin.display(description="request ID")
    def request_id(self, record: LogEntry) -> str:
        return Entry.of(record).request_id

    @admin.display(description="changes")
    def changed(self, record: LogEntry) -> SafeString:
        return render_to_string(
            "admin/stripe_connections/changes.html", {"entry": Entry.of(record)}
        )
