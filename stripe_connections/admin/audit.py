"""Who changed what, over all connections; nobody can change it."""

from typing import Any

from auditlog.models import LogEntry
from django.contrib import admin
from django.db.models import QuerySet
from django.forms import Media
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from stripe_connections.admin import listing
from stripe_connections.audit import history
from stripe_connections.audit.history import Entry

# The library's own page would show less and allow more.
admin.site.unregister(LogEntry)


@admin.register(LogEntry)
class HistoryAdmin(admin.ModelAdmin):
    """The audit of all connections, for reading."""

    list_display = ("moment", "connection", "person", "source", "what", "request_id")
    list_display_links = None
    list_filter = (listing.PersonFilter, listing.DayFilter, listing.FieldFilter)
    list_per_page = list_max_show_all = 50
    sortable_by = ()
    ordering = ("-pk",)
    paginator = listing.BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None

    @property
    def media(self) -> Media:
        return super().media + listing.STYLE

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        return history.records()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those who see connections; single records have no page of their own."""
        return obj is None and request.user.has_perm("stripe_connections.view_stripeconnection")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in {"person", "day", "field"}

    @admin.display(description="when (UTC)")
    def moment(self, record: LogEntry) -> str:
        return listing.minute(record.timestamp)

    def connection(self, record: LogEntry) -> str | SafeString:
        if record.object_id is None:
            return str(record.object_repr)
        url = reverse("admin:stripe_connections_stripeconnection_change", args=[record.object_id])
        return format_html('<a href="{}">{}</a>', url, record.object_repr)

    def person(self, record: LogEntry) -> str:
        return Entry.of(record).username

    @admin.display(description="from")
    def source(self, record: LogEntry) -> str:
        return Entry.of(record).source

    @admin.display(description="request ID")
    def request_id(self, record: LogEntry) -> str:
        return Entry.of(record).request_id

    def what(self, record: LogEntry) -> SafeString:
        return render_to_string(
            "admin/stripe_connections/changes.html", {"entry": Entry.of(record)}
        )
