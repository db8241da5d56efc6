"""Staff find and mend connections.

Nothing here reads a secret: lists and forms show hints, fingerprints and dates, and every write
goes through `services.py`.
"""

from collections import Counter
from collections.abc import Callable
from itertools import chain, zip_longest
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import QuerySet
from django.forms import Media, ModelForm
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from config.web_chain import request_id
from stripe_connections import audit, history, services
from stripe_connections.admin import listing
from stripe_connections.admin.forms import ConnectionForm, LeakedKeyForm
from stripe_connections.audit import Actor, Source
from stripe_connections.bulk.exchange import csv_lines, exported
from stripe_connections.encryption.fields import UndecryptableSecretError
from stripe_connections.history import Entry
from stripe_connections.models import SECRET_FIELDS, Status, StripeConnection
from stripe_connections.search import search

# What one action changes; a command changes more.
MAX_AT_ONCE = 500
MAX_HOLDERS = 200
STORED = ("stored_api_key", "stored_webhook_secret")
DATES = ("version", "created_at", "updated_at")
FILTERS = frozenset({"status__exact", "mode", "webhook", "tenant", "workspace"})


@admin.register(StripeConnection)
class StripeConnectionAdmin(admin.ModelAdmin):
    """Connections: find, look, change, add; never delete, and never read a secret."""

    form = ConnectionForm
    list_display = (
        "biz_id",
        "connection_name",
        "tenant",
        "workspace_name",
        "stripe_account_id",
        "mode",
        "state",
        "key_hint",
        "replaced",
        "updated",
    )
    list_display_links = ("biz_id", "connection_name")
    list_filter = (
        "status",
        listing.ModeFilter,
        listing.WebhookSecretFilter,
        listing.TenantFilter,
        listing.WorkspaceFilter,
    )
    list_select_related = ("workspace__tenant",)
    list_per_page = list_max_show_all = 50
    sortable_by = ("biz_id", "connection_name", "updated")
    ordering = ("-pk",)
    paginator = listing.BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Django wants names to show the input; `search` does the searching.
    search_fields = ("biz_id",)
    search_help_text = (
        "The beginning of a name, of an endpoint's host, of an account ID or of the business ID "
        "of a connection, workspace or tenant."
    )
    autocomplete_fields = ("workspace",)
    actions = ("activate", "deactivate", "reencrypt", "export")

    # ── What is shown ─────────────────────────────────────────────────────────────────────────
    def tenant(self, connection: StripeConnection) -> str:
        return connection.workspace.tenant.name

    @admin.display(description="workspace")
    def workspace_name(self, connection: StripeConnection) -> str:
        return connection.workspace.name

    @admin.display(empty_value="-")
    def mode(self, connection: StripeConnection) -> SafeString | None:
        mode = connection.mode
        return format_html('<span class="badge {}">{}</span>', mode, mode) if mode else None

    @admin.display(description="status")
    def state(self, connection: StripeConnection) -> SafeString:
        label = Status(connection.status).label
        return format_html('<span class="badge {}">{}</span>', label.lower(), label)

    @admin.display(description="key hint", empty_value="-")
    def key_hint(self, connection: StripeConnection) -> SafeString | None:
        unreadable = filter(connection.is_unreadable, SECRET_FIELDS)
        marks = format_html_join(
            "",
            ' <span class="badge unreadable">{} unreadable</span>',
            ((history.field_label(name),) for name in unreadable),
        )
        hint = connection.api_key_hint
        return format_html("<code>{}</code>{}", hint or "-", marks) if hint or marks else None

    @admin.display(description="key replaced", empty_value="-")
    def replaced(self, connection: StripeConnection) -> str:
        return listing.minute(connection.api_key_replaced_at).partition(" ")[0]

    @admin.display(ordering="updated_at")
    def updated(self, connection: StripeConnection) -> str:
        return listing.minute(connection.updated_at)

    @admin.display(description="stored API key")
    def stored_api_key(self, connection: StripeConnection) -> str:
        return _stored(connection, "api_key")

    @admin.display(description="stored webhook secret")
    def stored_webhook_secret(self, connection: StripeConnection) -> str:
        return _stored(connection, "webhook_secret")

    def get_fieldsets(self, request: HttpRequest, obj: StripeConnection | None = None) -> Any:
        """With inputs for secrets only for those who may replace them."""
        may_change = obj is None or self.has_change_permission(request, obj)
        may_replace = may_change and self.has_replace_secrets_permission(request)
        inputs = SECRET_FIELDS if may_replace else ()
        about = ("workspace", "connection_name", "connection_description", "status")
        callbacks = ("partner_endpoint", "config_json")
        if obj is None:
            return [(None, {"fields": (*about, "stripe_account_id", *inputs, *callbacks)})]
        secrets = chain.from_iterable(zip_longest(STORED, inputs))
        first = ("seen_version", "biz_id") if may_change else ("biz_id",)
        return [
            (None, {"fields": (*first, *about)}),
            ("Stripe", {"fields": ("stripe_account_id", "mode", *filter(None, secrets))}),
            ("Callbacks", {"fields": callbacks}),
            ("Record", {"fields": DATES}),
        ]

    def get_readonly_fields(
        self, request: HttpRequest, obj: StripeConnection | None = None
    ) -> tuple[str, ...]:
        return ("biz_id", "workspace", "mode", *STORED, *DATES) if obj else ()

    # ── Who may do what ───────────────────────────────────────────────────────────────────────
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a connection is deactivated."""
        return False

    def has_replace_secrets_permission(self, request: HttpRequest) -> bool:
        """Whether the person may type new secrets."""
        return request.user.has_perm("stripe_connections.replace_secrets")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Nothing from the address bar but the filters; a secret is none."""
        return lookup in FILTERS

    # ── Reading ───────────────────────────────────────────────────────────────────────────────
    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeConnection]:
        queryset: QuerySet[StripeConnection] = StripeConnection.objects.with_tokens()
        return queryset.order_by("-pk")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> StripeConnection | None:
        """Locked while a form is saved, so that nobody changes the row after the form's check."""
        if not object_id.isdecimal() or len(object_id) > listing.MAX_DIGITS:
            return None
        queryset = StripeConnection.objects.with_tokens().filter(pk=object_id)
        if request.method == "POST":
            queryset = queryset.for_update(services.lock_timeout())
        found: StripeConnection | None = queryset.first()
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search(queryset, term) if term else queryset), False

    # ── Writing ───────────────────────────────────────────────────────────────────────────────
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The form; a secret in what is posted needs the permission for it."""
        posted = any(request.POST.get(name) for name in SECRET_FIELDS)
        if posted and not self.has_replace_secrets_permission(request):
            raise PermissionDenied
        return super().changeform_view(request, *args, **kwargs)

    def save_model(
        self, request: HttpRequest, obj: StripeConnection, form: ModelForm, change: Any
    ) -> None:
        """Through the door; `obj` becomes what was saved, without a secret being loaded."""
        assert isinstance(form, ConnectionForm)  # noqa: S101 - for the type checker
        if change:
            saved = services.update_connection(
                workspace=obj.workspace,
                biz_id=obj.biz_id,
                changes=form.changes,
                actor=_actor(request),
                expected_versions={form.cleaned_data["seen_version"]},
            )
        else:
            saved = services.create_connection(
                workspace=form.cleaned_data["workspace"],
                values=form.changes | {"status": form.cleaned_data["status"]},
                actor=_actor(request),
            )
        obj.__dict__.update(saved.__dict__)

    # ── Actions ───────────────────────────────────────────────────────────────────────────────
    @admin.action(description="Activate", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._set_status(request, queryset, Status.ACTIVE, "activate")

    @admin.action(description="Deactivate", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._set_status(request, queryset, Status.INACTIVE, "deactivate")

    @admin.action(description="Re-encrypt under the current key", permissions=["change"])
    def reencrypt(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        def step(connection: StripeConnection) -> bool:
            return services.reencrypt_connection(
                workspace=connection.workspace, biz_id=connection.biz_id, actor=_actor(request)
            )

        _apply(request, _few(request, queryset), step)

    @admin.action(description="Export to CSV", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[Any]) -> StreamingHttpResponse:
        keys = list(queryset.values_list("pk", flat=True))
        rows = queryset.select_related("workspace__tenant").iterator(chunk_size=1_000)
        audit.record_export(len(keys), _actor(request))
        messages.success(request, _summary(Counter(done=len(keys)), []))
        return StreamingHttpResponse(
            csv_lines(map(exported, rows)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="connections.csv"'},
        )

    def _set_status(
        self, request: HttpRequest, queryset: QuerySet[Any], status: Status, verb: str
    ) -> HttpResponse | None:
        """Ask first, with a list of what will be touched; then do it."""

        def step(connection: StripeConnection) -> bool:
            if connection.status == status:
                return False
            services.update_connection(
                workspace=connection.workspace,
                biz_id=connection.biz_id,
                changes={"status": status},
                actor=_actor(request),
            )
            return True

        rows = _few(request, queryset)
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
        return self._page(request, "confirm_status", context) if rows else None

    # ── Further pages ─────────────────────────────────────────────────────────────────────────
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.find_by_key)
        name = "stripe_connections_stripeconnection_find_by_key"
        return [path("find-by-key/", view, name=name), *super().get_urls()]

    @property
    def media(self) -> Media:
        """With our style sheet, and what the filters by tenant and workspace need."""
        workspace = StripeConnection._meta.get_field("workspace")
        picker: Media = AutocompleteSelect(workspace, self.admin_site).media
        return super().media + picker + listing.STYLE

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; a secret that was typed into its search is sent to the page made for it."""
        typed = request.GET.get("q", "").strip()
        if typed.startswith(("whsec_", *settings.STRIPE_API_KEY_PREFIXES)):
            messages.warning(
                request,
                "That looked like a secret, which must not stand in an address. Paste it here.",
            )
            return HttpResponseRedirect(
                reverse("admin:stripe_connections_stripeconnection_find_by_key")
            )
        context = {"max_listed": listing.MAX_LISTED} | (extra_context or {})
        return super().changelist_view(request, context)

    def find_by_key(self, request: HttpRequest) -> HttpResponse:
        """Who holds a leaked key; it comes in the body and is in no answer, URL or log."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = LeakedKeyForm(request.POST or None)
        context = {"title": "Find by key", "form": form}
        if form.is_valid():
            holders = StripeConnection.objects.holding(form.cleaned_data["secret"])
            found = holders.select_related("workspace__tenant").order_by("pk")
            context |= {"searched": True, "found": found[:MAX_HOLDERS]}
        return self._page(request, "find_by_key", context)

    @method_decorator(require_safe)
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit of one connection, in the place of Django's, which knows nothing of it."""
        response = super().history_view(request, object_id, extra_context)
        if not isinstance(response, TemplateResponse):
            return response
        connection = (response.context_data or {})["object"]
        records = history.records().filter(object_id=connection.pk)
        page = Paginator(records, self.list_per_page).get_page(request.GET.get("p"))
        context = {
            "title": f"History of {connection}",
            "object": connection,
            "entries": [Entry.of(record) for record in page],
            "page": page,
        }
        return self._page(request, "history", context)

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> TemplateResponse:
        """A page of our own, in the admin's frame."""
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/stripe_connections/{name}.html", frame | context)


def _few(request: HttpRequest, queryset: QuerySet[StripeConnection]) -> list[StripeConnection]:
    """What was chosen; nothing, and a message, where that is too much for one request."""
    rows = list(queryset.select_related("workspace__tenant")[: MAX_AT_ONCE + 1])
    if len(rows) <= MAX_AT_ONCE:
        return rows
    messages.error(request, f"At most {MAX_AT_ONCE} connections at once; nothing was changed.")
    return []


def _apply(
    request: HttpRequest, rows: list[StripeConnection], step: Callable[[StripeConnection], bool]
) -> None:
    """Do `step` for each, which says whether it changed anything; then say how it went."""
    outcome: Counter[str] = Counter()
    failed: list[str] = []
    for connection in rows:
        try:
            outcome["done" if step(connection) else "unchanged"] += 1
        except UndecryptableSecretError:
            failed.append(f"{connection.biz_id} (a secret is unreadable)")
        except (services.ConnectionNotFoundError, DatabaseError):
            failed.append(f"{connection.biz_id} (try again)")
    if rows:
        level = messages.WARNING if failed else messages.SUCCESS
        messages.add_message(request, level, _summary(outcome, failed))


def _stored(connection: StripeConnection, name: str) -> str:
    return render_to_string(
        "admin/stripe_connections/stored_secret.html",
        {
            "hint": getattr(connection, f"{name}_hint"),
            "fingerprint": getattr(connection, f"{name}_fingerprint"),
            "replaced_at": getattr(connection, f"{name}_replaced_at"),
            "unreadable": connection.is_unreadable(name),
        },
    )


def _actor(request: HttpRequest) -> Actor:
    assert request.user.is_authenticated  # noqa: S101 - the admin lets nobody else in
    return Actor(request.user, Source.ADMIN, request_id.current())


def _summary(outcome: Counter[str], failed: list[str]) -> str:
    text = f"{outcome['done']} done, {outcome['unchanged']} unchanged, {len(failed)} failed"
    return f"{text}: {', '.join(failed)}." if failed else f"{text}."
