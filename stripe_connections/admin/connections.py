"""Staff find and mend connections.

Nothing here reads a secret: lists and forms show hints, fingerprints and dates, and every write
goes through `services.py`. A key is verified before any transaction begins.
"""

from typing import Any, cast

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.forms import Media, ModelForm
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
)
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from stripe_connections import services
from stripe_connections.admin import actions, listing
from stripe_connections.admin.forms import ConnectionForm, LeakedKeyForm
from stripe_connections.admin.pages import actor_of, page
from stripe_connections.audit import history
from stripe_connections.audit.history import Entry
from stripe_connections.models import (
    SECRET_FIELDS,
    Status,
    StripeConnection,
    StripeConnectionQuerySet,
)
from stripe_connections.search import search
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply, Verification
from stripe_connections.stripe_api.verification import TooManyAttemptsError

MAX_HOLDERS = 200
UNVERIFIED = "The key could not be checked, so it is saved as unverified."
STORED = ("mode", "stored_outcome", "stored_api_key", "stored_webhook_secret")
SHOWN_OF_STRIPE = ("stripe_account_id", *STORED)
ABOUT_STRIPE = (
    "stripe_account_id", "mode", "stored_outcome", "stored_api_key", "api_key", "allow_mode_change",
    "stored_webhook_secret", "webhook_secret",
)  # fmt: skip
DATES = ("version", "created_at", "updated_at")
FILTERS = frozenset({"status__exact", "mode", "verification", "webhook", "tenant", "workspace"})


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
        "outcome",
        "replaced",
        "updated",
    )
    list_display_links = ("biz_id", "connection_name")
    list_filter = (
        "status",
        listing.ModeFilter,
        listing.VerificationFilter,
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
    actions = (
        actions.activate,
        actions.deactivate,
        actions.verify,
        actions.reencrypt,
        actions.export,
    )

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

    @admin.display(description="verification")
    def outcome(self, connection: StripeConnection) -> SafeString:
        found = connection.outcome
        facts = {
            "verified {} UTC": listing.minute(found.at),
            "belongs to {}": found.account_id,
            "lacks {}": found.missing_permission,
            "{}": found.explanation,
        }
        hover = ", ".join(text.format(fact) for text, fact in facts.items() if fact)
        badge = '<span class="badge {0}" title="{1}">{0}</span>'
        return format_html(badge, found.verification, hover)

    @admin.display(description="verification")
    def stored_outcome(self, connection: StripeConnection) -> str:
        return render_to_string(
            "admin/stripe_connections/stored_outcome.html", {"outcome": connection.outcome}
        )

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
        inputs = {*SECRET_FIELDS, "allow_mode_change"} if may_replace else set()
        about = ("workspace", "connection_name", "connection_description", "status")
        callbacks = ("partner_endpoint", "config_json")
        if obj is None:
            secrets = [name for name in SECRET_FIELDS if name in inputs]
            names = ("form_id", *about, "stripe_account_id", *secrets, *callbacks)
            return [(None, {"fields": names})]
        stripe = [name for name in ABOUT_STRIPE if name in inputs.union(SHOWN_OF_STRIPE)]
        first = ("seen_version", "biz_id") if may_change else ("biz_id",)
        return [
            (None, {"fields": (*first, *about)}),
            ("Stripe", {"fields": stripe}),
            ("Callbacks", {"fields": callbacks}),
            ("Record", {"fields": DATES}),
        ]

    def get_readonly_fields(
        self, request: HttpRequest, obj: StripeConnection | None = None
    ) -> tuple[str, ...]:
        return ("biz_id", "workspace", *STORED, *DATES) if obj else ()

    # ── Who may do what ───────────────────────────────────────────────────────────────────────
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a connection is deactivated."""
        return False

    def has_replace_secrets_permission(self, request: HttpRequest) -> bool:
        """Whether the person may type new secrets."""
        return request.user.has_perm("stripe_connections.replace_secrets")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without "verify" if STRIPE_VERIFY is off."""
        actions: dict[str, Any] = super().get_actions(request)
        if not settings.STRIPE_VERIFY:
            actions.pop("verify", None)
        return actions

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Nothing from the address bar but the filters; a secret is none."""
        return lookup in FILTERS

    # ── Reading ───────────────────────────────────────────────────────────────────────────────
    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeConnection]:
        queryset: QuerySet[StripeConnection] = StripeConnection.objects.with_secrets()
        return queryset.order_by("-pk")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> StripeConnection | None:
        """Locked while a form is saved, so that nobody changes the row after the form's check."""
        queryset = _called(object_id).with_secrets()
        if request.method == "POST":
            queryset = queryset.for_update(services.lock_timeout())
        return queryset.first()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search(queryset, term) if term else queryset), False

    # ── Writing ───────────────────────────────────────────────────────────────────────────────
    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The form; a secret in what is posted needs the permission for it.

        A key is verified here, because Django opens a transaction in the method called last.
        """
        posted = any(request.POST.get(name) for name in SECRET_FIELDS)
        if posted and not self.has_replace_secrets_permission(request):
            raise PermissionDenied
        if settings.STRIPE_VERIFY and request.method == "POST":
            request.reply = self._verified(request, object_id)  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, *args, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The class of the form, which is created for this request, with Stripe's reply."""
        form: Any = super().get_form(request, obj, *args, **kwargs)
        form.reply = getattr(request, "reply", form.reply)
        return form

    def _verified(
        self, request: HttpRequest, object_id: str | None
    ) -> Reply | TooManyAttemptsError:
        """What Stripe says about the new key or account that is posted, if it could be saved."""
        connection = _called(object_id).first() if object_id else None
        if connection:
            may_save = self.has_change_permission(request, connection)
        else:
            may_save = object_id is None and self.has_add_permission(request)
        if not may_save:
            return Reply()
        form = self.get_form(request, connection)(request.POST, instance=connection)
        if not form.is_valid():
            return Reply()
        subject = verification.subject_of(
            connection or StripeConnection(workspace=form.cleaned_data["workspace"]),
            form.changes,
            allow_mode_change=form.is_mode_confirmed,
        )
        try:
            return verification.verify(subject)
        except TooManyAttemptsError as error:
            return error

    def save_model(
        self, request: HttpRequest, obj: StripeConnection, form: ModelForm, change: Any
    ) -> None:
        """Through the door; `obj` becomes what was saved, without a secret being loaded."""
        assert isinstance(form, ConnectionForm)  # for the type checker
        # In a valid form it is one.
        reply = cast("Reply", form.reply)
        if change:
            saved = services.update_connection(
                workspace=obj.workspace,
                biz_id=obj.biz_id,
                changes=form.changes,
                actor=actor_of(request),
                expected_versions={form.cleaned_data["seen_version"]},
                reply=reply,
                allow_mode_change=form.is_mode_confirmed,
            )
        else:
            # A double click posts the form twice.
            saved, _ = services.create_connection_once(
                workspace=form.cleaned_data["workspace"],
                values=form.changes | {"status": form.cleaned_data["status"]},
                actor=actor_of(request),
                key=form.creation_key(),
                reply=reply,
            )
        if reply.at and saved.outcome.verification == Verification.UNVERIFIED:
            messages.warning(request, f"{UNVERIFIED} {saved.outcome.explanation}")
        obj.__dict__.update(saved.__dict__)

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
        return page(self, request, "find_by_key", context)

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
        shown = Paginator(records, self.list_per_page).get_page(request.GET.get("p"))
        context = {
            "title": f"History of {connection}",
            "object": connection,
            "entries": [Entry.of(record) for record in shown],
            "page": shown,
        }
        return page(self, request, "history", context)


def _called(object_id: str) -> StripeConnectionQuerySet:
    """The connection of the key that an address ends with, if there is one."""
    connections: StripeConnectionQuerySet = StripeConnection.objects.all()
    is_key = object_id.isdecimal() and len(object_id) <= listing.MAX_DIGITS
    return connections.filter(pk=object_id) if is_key else connections.none()


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
