"""The list and the form of connections, and the pages that belong to them.

Nothing here reads a secret: lists and forms show hints, fingerprints and dates. `services.py`
writes every change. A key is verified before a transaction begins.
"""

from functools import partial
from typing import Any, cast

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from stripe_connections import services, statements
from stripe_connections.admin import actions, listing
from stripe_connections.admin.forms import ConnectionForm, LeakedKeyForm
from stripe_connections.admin.pages import actor_of, badge, page
from stripe_connections.admin.restore import may_restore, offered, restore_view
from stripe_connections.audit import history
from stripe_connections.audit.history import Entry
from stripe_connections.models import (
    SECRET_FIELDS,
    Status,
    StripeConnection,
    StripeConnectionQuerySet,
)
from stripe_connections.search import HINT, search
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply, Verification
from stripe_connections.stripe_api.verification import TooManyAttemptsError
from stripe_connections.undo import leaks

MAX_FOUND = 200
LEAKED = (
    "Nobody can save or restore this secret any more, and its kept copies are erased. Replace it "
    "in the connections below, or deactivate them."
)
UNVERIFIED = "The key could not be checked, so it is saved as unverified."
# What a form shows and nobody can type.
STORED = ("mode", "stored_outcome", "stored_api_key", "stored_webhook_secret")
RECORD = ("version", "created_at", "updated_at")
# Inputs for those who may replace secrets.
SECRET_INPUTS = ("retype", *SECRET_FIELDS, "keep_api_key", "keep_webhook_secret")
FIELDSETS = (
    (None, (
        "form_id", "seen_version", "retype", "biz_id", "tenant", "workspace", "connection_name",
        "connection_description", "status",
    )),
    ("Stripe", (
        "stripe_account_id", "mode", "stored_outcome", "stored_api_key", "api_key",
        "allow_mode_change", "keep_api_key", "stored_webhook_secret", "webhook_secret",
        "keep_webhook_secret",
    )),
    ("Callbacks", ("partner_endpoint", "config_json")),
    ("Record", RECORD),
)  # fmt: skip


@admin.register(StripeConnection)
class StripeConnectionAdmin(listing.BoundedListAdmin):
    """Connections can be found, viewed, added and changed, but not deleted."""

    form = ConnectionForm
    # A narrow screen shows the first columns.
    list_display = (
        "connection_name", "state", "mode", "outcome", "biz_id", "tenant", "workspace_name",
        "stripe_account_id", "key_hint", "api_key_replaced_at", "updated_at",
    )  # fmt: skip
    list_display_links = ("connection_name", "biz_id")
    list_filter = ("status", listing.ModeFilter, "verification", listing.ProblemFilter)
    list_select_related = ("workspace__tenant",)
    sortable_by = ("biz_id", "connection_name", "updated_at")
    # Django shows the input only if this is set; `search` does the searching.
    search_fields = ("biz_id",)
    search_help_text = (
        "The beginning of the name or ID of a connection, workspace, tenant or account, or of a "
        "member's user name or email address; the domain of an endpoint; the last four characters "
        "of an API key."
    )
    actions = (
        actions.activate, actions.deactivate, actions.verify, actions.reencrypt, actions.export,
    )  # fmt: skip

    # ── Columns and fields ───────────────────────────────────────────────────────────────────────
    def tenant(self, connection: StripeConnection) -> SafeString:
        tenant = connection.workspace.tenant
        url = reverse("admin:workspaces_tenant_change", args=[tenant.pk])
        return format_html('<a href="{}">{}</a>', url, tenant.name)

    @admin.display(description="workspace")
    def workspace_name(self, connection: StripeConnection) -> str:
        return connection.workspace.name

    def mode(self, connection: StripeConnection) -> SafeString | None:
        return badge(connection.mode) if connection.mode else None

    @admin.display(description="status")
    def state(self, connection: StripeConnection) -> SafeString:
        return badge(Status(connection.status).label)

    @admin.display(description="key hint")
    def key_hint(self, connection: StripeConnection) -> SafeString | None:
        hint = connection.api_key_hint
        return format_html("<code>{}</code>", hint) if hint else None

    @admin.display(description="verification")
    def outcome(self, connection: StripeConnection) -> SafeString:
        found = connection.outcome
        facts = {
            "verified {}": localize(found.at),
            "belongs to {}": found.account_id,
            "lacks {}": found.missing_permission,
            "{}": found.explanation,
        }
        hover = ", ".join(text.format(fact) for text, fact in facts.items() if fact)
        unreadable = filter(connection.is_unreadable, SECRET_FIELDS)
        marks = format_html_join(
            "",
            ' <span class="badge unreadable">{} unreadable</span>',
            ((history.field_label(name),) for name in unreadable),
        )
        return badge(found.verification, hover) + marks

    @admin.display(description="verification")
    def stored_outcome(self, connection: StripeConnection) -> str:
        return render_to_string(
            "admin/stripe_connections/stored_outcome.html", {"outcome": connection.outcome}
        )

    @admin.display(description="stored API key")
    def stored_api_key(self, connection: StripeConnection) -> str:
        return _stored(connection, "api_key")

    @admin.display(description="stored webhook secret")
    def stored_webhook_secret(self, connection: StripeConnection) -> str:
        return _stored(connection, "webhook_secret")

    def get_fieldsets(self, request: HttpRequest, obj: StripeConnection | None = None) -> Any:
        """FIELDSETS without what a new connection lacks and what the user may not type."""
        hidden: set[str] = {"form_id"}
        if obj is None:
            hidden = {"seen_version", "biz_id", "tenant", "allow_mode_change", *STORED, *RECORD}
        may_change = obj is None or self.has_change_permission(request, obj)
        if not may_change:
            hidden.add("seen_version")
        if not (may_change and self.has_replace_secrets_permission(request)):
            hidden.update(SECRET_INPUTS, {"allow_mode_change"})
        shown = [(title, [n for n in names if n not in hidden]) for title, names in FIELDSETS]
        return [(title, {"fields": names}) for title, names in shown if names]

    def get_readonly_fields(
        self, request: HttpRequest, obj: StripeConnection | None = None
    ) -> tuple[str, ...]:
        return ("biz_id", "tenant", "workspace", *STORED, *RECORD) if obj else ()

    # ── Permissions ───────────────────────────────────────────────────────────────────────
    def has_replace_secrets_permission(self, request: HttpRequest) -> bool:
        """Whether the user may type new secrets."""
        return request.user.has_perm("stripe_connections.replace_secrets")

    def has_verify_permission(self, request: HttpRequest) -> bool:
        """Whether the action "Verify with Stripe" is shown."""
        return settings.STRIPE_VERIFY and self.has_change_permission(request)

    # ── Reading ───────────────────────────────────────────────────────────────────────────────
    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeConnection]:
        queryset: QuerySet[StripeConnection] = StripeConnection.objects.with_secrets()
        return queryset.order_by("-pk")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> StripeConnection | None:
        """Locked while a form is saved, so that nobody changes the row after the form's check."""
        found: StripeConnection | None = super().get_object(request, object_id, from_field)
        if found is None or request.method != "POST":
            return found
        rows: StripeConnectionQuerySet = StripeConnection.objects.filter(pk=found.pk)
        return rows.with_secrets().for_update(statements.lock_timeout()).first()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search(queryset, term) if term else queryset), False

    # ── Writing ───────────────────────────────────────────────────────────────────────────────
    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The form; posting a secret requires the permission to replace secrets.

        Verifies a new key here, because Django opens a transaction in the method called last.
        """
        posted = any(request.POST.get(name) for name in SECRET_FIELDS)
        if posted and not self.has_replace_secrets_permission(request):
            raise PermissionDenied
        if settings.STRIPE_VERIFY and request.method == "POST":
            request.reply = self._verified(request, object_id)  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, *args, **kwargs)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["may_verify"] = self.has_verify_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The form class, which Django creates for each request, with Stripe's reply and user."""
        form: Any = super().get_form(request, obj, *args, **kwargs)
        form.reply = getattr(request, "reply", form.reply)
        form.user = request.user
        return form

    def _verified(
        self, request: HttpRequest, object_id: str | None
    ) -> Reply | TooManyAttemptsError:
        """Stripe's reply about a posted key or account, if the form is valid and may be saved."""
        connection = super().get_object(request, object_id) if object_id else None
        if connection:
            may_save = self.has_change_permission(request, connection)
        else:
            may_save = object_id is None and self.has_add_permission(request)
        if not may_save:
            return Reply()
        form = self.get_form(request, connection)(request.POST, instance=connection)
        if not form.is_valid():
            return Reply()
        verification_request = verification.request_of(
            connection or StripeConnection(workspace=form.cleaned_data["workspace"]),
            form.changes,
            allow_mode_change=form.is_mode_confirmed,
        )
        try:
            return verification.verify(verification_request)
        except TooManyAttemptsError as error:
            return error

    def save_model(
        self, request: HttpRequest, obj: StripeConnection, form: ModelForm, change: Any
    ) -> None:
        """Save with the service layer; `obj` takes over the saved values but no secret."""
        assert isinstance(form, ConnectionForm)  # for the type checker
        # A valid form has no TooManyAttemptsError.
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

    def response_change(self, request: HttpRequest, obj: StripeConnection) -> HttpResponse:
        """The next page, with a message of its own if the form changed nothing."""
        if request.POST.get("seen_version") != str(obj.version):
            return super().response_change(request, obj)
        messages.info(request, f"Nothing was changed in {obj}.")
        if "_continue" in request.POST:
            return HttpResponseRedirect(request.get_full_path())
        if "_addanother" in request.POST:
            return redirect("admin:stripe_connections_stripeconnection_add")
        return self.response_post_save_change(request, obj)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run an action; "Select all" means the listed connections, as their number says."""
        if request.POST.get("select_across") == "1":
            listed = queryset.values_list("pk", flat=True)[: listing.MAX_LISTED]
            queryset = queryset.filter(pk__in=list(listed))
        response = super().response_action(request, queryset, *args, **kwargs)
        if "from_form" in request.POST and isinstance(response, HttpResponseRedirect):
            pk = request.POST.get("_selected_action")
            return redirect("admin:stripe_connections_stripeconnection_change", pk)
        return response

    # ── Other pages ─────────────────────────────────────────────────────────────────────────
    def get_urls(self) -> list[URLPattern]:
        view, prefix = self.admin_site.admin_view, "stripe_connections_stripeconnection_"
        restore = view(partial(restore_view, self))
        return [
            path("find-by-key/", view(self.find_by_key), name=f"{prefix}find_by_key"),
            path("<int:pk>/restore/<int:version>/<name>/", restore, name=f"{prefix}restore"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; a secret in the search redirects to the page for secrets."""
        typed = request.GET.get("q", "").strip()
        is_secret = typed.startswith(("whsec_", *settings.STRIPE_API_KEY_PREFIXES))
        if is_secret and not HINT.fullmatch(typed):
            messages.warning(
                request,
                "That looked like a secret, which must not appear in an address. Paste it here.",
            )
            return redirect("admin:stripe_connections_stripeconnection_find_by_key")
        context = {"max_listed": listing.MAX_LISTED} | (extra_context or {})
        return super().changelist_view(request, context)

    def find_by_key(self, request: HttpRequest) -> HttpResponse:
        """The connections that have a leaked key, which never gets into a page, URL or log."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = LeakedKeyForm(request.POST or None)
        context = {"title": "Find by key", "form": form, "may_report": may_restore(request)}
        if form.is_valid():
            if "leaked" in request.POST:
                if not may_restore(request):
                    raise PermissionDenied
                leaks.report(form.cleaned_data["secret"], actor_of(request))
                messages.success(request, LEAKED)
            found = StripeConnection.objects.holding(form.cleaned_data["secret"])
            found = found.select_related("workspace__tenant").order_by("pk")[:MAX_FOUND]
            context |= {"searched": True, "found": found}
        return page(self, request, "find_by_key", context)

    @method_decorator(require_safe)
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit of one connection, instead of Django's log of its admin."""
        response = super().history_view(request, object_id, extra_context)
        # Otherwise a redirect, because there is no such connection.
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            connection = response.context_data["object"]
            records = history.records().filter(object_id=connection.pk)
            shown = Paginator(records, self.list_per_page).get_page(request.GET.get("p"))
            response.context_data |= {
                "title": f"History of {connection}",
                "entries": [Entry.of(record) for record in shown],
                "page": shown,
                "restorable": offered(request, connection),
            }
        return response


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
