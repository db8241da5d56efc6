"""Filters and pages for the admin's lists; their cost does not grow with the table."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from stripe_connections.audit.history import field_label
from stripe_connections.models import (
    UPDATABLE_FIELDS,
    Mode,
    StripeConnection,
    in_mode,
)
from workspaces.models import Workspace

MAX_LISTED = 1_000
MAX_DIGITS = 18


class BoundedPaginator(Paginator):
    """Pages of the first MAX_LISTED rows.

    Counting all rows reads the whole table, and so does a page near its end.
    """

    @cached_property
    def count(self) -> int:
        return len(cast("QuerySet[Any]", self.object_list).values_list("pk")[:MAX_LISTED])


class BoundedListAdmin(admin.ModelAdmin):
    """A list, newest first, that costs the same few queries for any number of rows."""

    list_per_page = list_max_show_all = 50
    ordering = ("-pk",)
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css: ClassVar = {"all": ["stripe_connections/admin.css"]}


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with a few values; any other value filters nothing."""

    # From a value to its label and the condition for the rows.
    conditions: dict[str, tuple[str, Q]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, (label, _) in self.conditions.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, condition = self.conditions.get(self.value() or "", ("", Q()))
        return queryset.filter(condition)


class ModeFilter(ChoiceFilter):
    """Filters by the mode of the API key."""

    title = parameter_name = "mode"
    conditions = {mode.value: (mode.label, in_mode(mode)) for mode in Mode}


class WebhookSecretFilter(ChoiceFilter):
    """Filters by whether a webhook signing secret is stored."""

    title = "webhook secret"
    parameter_name = "webhook"
    conditions = {
        "none": ("No webhook secret", Q(webhook_secret_hint__isnull=True)),
        "set": ("Set", Q(webhook_secret_hint__isnull=False)),
    }


class FieldFilter(ChoiceFilter):
    """Filters the audit by a changed field."""

    title = parameter_name = "field"
    conditions = {
        name: (field_label(name), Q(changes__has_key=name))
        for name in sorted({*UPDATABLE_FIELDS, "verification"})
    }


class InputFilter(admin.SimpleListFilter):
    """A filter with an input, for values that are too many for links."""

    template = "admin/input_filter.html"
    input_type = "text"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self.site = model_admin.admin_site
        # Django hides a filter without choices.
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """A single choice: the input and the other parameters of the list."""
        name = str(self.parameter_name)
        attrs = {"id": f"filter-{name}", "aria-label": f"By {self.title}"}
        yield {
            "input": self.widget().render(name, self.value(), attrs),
            "others": [pair for pair in changelist.params.items() if pair[0] != name],
            "clear": changelist.get_query_string(remove=[name]) if self.value() else "",
        }

    def widget(self) -> forms.Widget:
        return forms.TextInput(attrs={"type": self.input_type})


class RelatedFilter(InputFilter):
    """Filters by a related row, which is found by typing; `relation` is the lookup of its key."""

    relation: str
    remote_field: Any

    def value(self) -> str | None:
        value = super().value()
        return value if value and value.isdecimal() and len(value) <= MAX_DIGITS else None

    def widget(self) -> forms.Widget:
        rows = self.remote_field.related_model.objects.all()
        picker = AutocompleteSelect(self.remote_field, self.site)
        # The field copies the widget and adds the choices, so that the chosen row is shown.
        widget: forms.Widget = forms.ModelChoiceField(rows, widget=picker).widget
        return widget

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.relation: value}) if value else queryset


class TenantFilter(RelatedFilter):
    """Filters by tenant."""

    title = parameter_name = "tenant"
    relation = "workspace__tenant_id"
    remote_field = Workspace._meta.get_field("tenant")


class WorkspaceFilter(RelatedFilter):
    """Filters by workspace."""

    title = parameter_name = "workspace"
    relation = "workspace_id"
    remote_field = StripeConnection._meta.get_field("workspace")


class UserFilter(InputFilter):
    """Filters the audit by user name."""

    title = parameter_name = "user"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        if not name or "\0" in name:
            return queryset
        user = User.objects.filter(username=name).first()
        # The actor has an index. The records of a deleted user only have the name.
        condition = {"actor": user} if user else {"additional_data__username": name}
        return queryset.filter(**condition)


class DayFilter(InputFilter):
    """Filters the audit by day, from midnight to midnight UTC."""

    title = parameter_name = "day"
    input_type = "date"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        try:
            day = date.fromisoformat(self.value() or "")
            start = datetime.combine(day, time(), UTC)
            end = start + timedelta(days=1)
        except (ValueError, OverflowError):
            return queryset
        return queryset.filter(timestamp__gte=start, timestamp__lt=end)
