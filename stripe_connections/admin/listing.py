"""Lists of the admin that stay quick however long the table is."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any, cast

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
from stripe_connections.stripe_api.replies import Verification
from workspaces.models import Workspace

MAX_LISTED = 1_000
MAX_DIGITS = 18

STYLE = forms.Media(css={"all": ["stripe_connections/admin.css"]})


def minute(moment: datetime | None) -> str:
    """In UTC, to the minute; nothing for None."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


class BoundedPaginator(Paginator):
    """Pages of the first 1,000: who looks for more, searches.

    Counting a whole table reads all of it, and so does a page far behind.
    """

    @cached_property
    def count(self) -> int:
        return len(cast("QuerySet[Any]", self.object_list).values_list("pk")[:MAX_LISTED])


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with few values; a value that is none of them filters nothing."""

    # From value to its label and to what it lets through.
    conditions: dict[str, tuple[str, Q]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, (label, _) in self.conditions.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, condition = self.conditions.get(self.value() or "", ("", Q()))
        return queryset.filter(condition)


class ModeFilter(ChoiceFilter):
    """By what the prefix of the API key says."""

    title = parameter_name = "mode"
    conditions = {mode.value: (mode.label, in_mode(mode)) for mode in Mode}


class VerificationFilter(ChoiceFilter):
    """By what Stripe said of the API key."""

    title = parameter_name = "verification"
    conditions = {name.value: (name.label, Q(verification=name)) for name in Verification}


class WebhookSecretFilter(ChoiceFilter):
    """By whether there is a webhook signing secret."""

    title = "webhook secret"
    parameter_name = "webhook"
    conditions = {
        "none": ("No webhook secret", Q(webhook_secret_hint__isnull=True)),
        "set": ("Set", Q(webhook_secret_hint__isnull=False)),
    }


class FieldFilter(ChoiceFilter):
    """By a field that was changed, in the audit."""

    title = parameter_name = "field"
    conditions = {
        name: (field_label(name), Q(changes__has_key=name))
        for name in sorted({*UPDATABLE_FIELDS, "verification"})
    }


class InputFilter(admin.SimpleListFilter):
    """A filter with an input instead of links: there are too many values for links."""

    template = "admin/input_filter.html"
    input_type = "text"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self.site = model_admin.admin_site
        # A filter without any choice is not shown.
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One "choice": the input, and what the other filters and the search are set to."""
        name = str(self.parameter_name)
        attrs = {"id": f"filter-{name}", "aria-label": f"By {self.title}"}
        yield {
            "input": self.widget().render(name, self.value(), attrs),
            "others": [pair for pair in changelist.params.items() if pair[0] != name],
            "clear": changelist.get_query_string(remove=[name]) if self.value() else "",
        }

    def widget(self) -> forms.Widget:
        """The input."""
        return forms.TextInput(attrs={"type": self.input_type})


class RelatedFilter(InputFilter):
    """By a related row, which is found by typing; `relation` leads to its key from our model."""

    relation: str
    remote_field: Any

    def value(self) -> str | None:
        value = super().value()
        return value if value and value.isdecimal() and len(value) <= MAX_DIGITS else None

    def widget(self) -> forms.Widget:
        rows = self.remote_field.related_model.objects.all()
        picker = AutocompleteSelect(self.remote_field, self.site)
        # The field makes a copy that has its choices, of which the chosen one is shown.
        filled: forms.Widget = forms.ModelChoiceField(rows, widget=picker).widget
        return filled

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.relation: value}) if value else queryset


class TenantFilter(RelatedFilter):
    """By tenant."""

    title = parameter_name = "tenant"
    relation = "workspace__tenant_id"
    remote_field = Workspace._meta.get_field("tenant")


class WorkspaceFilter(RelatedFilter):
    """By workspace."""

    title = parameter_name = "workspace"
    relation = "workspace_id"
    remote_field = StripeConnection._meta.get_field("workspace")


class PersonFilter(InputFilter):
    """By the name of the user who made the change."""

    title = parameter_name = "person"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        if not name or "\0" in name:
            return queryset
        user = User.objects.filter(username=name).first()
        # The key has an index; only a user who is gone must be looked for by the kept name.
        who = {"actor": user} if user else {"additional_data__username": name}
        return queryset.filter(**who)


class DayFilter(InputFilter):
    """By day, from midnight to midnight UTC."""

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
