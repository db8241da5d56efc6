"""The admin pages for tenants, workspaces and members."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.admin.widgets import AutocompleteSelect
from django.http import HttpRequest
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from workspaces.models import Membership, Tenant, Workspace

# A primary key has no more.
MAX_DIGITS = 18

# Their pages show refresh tokens, which a reader could use to act as another user.
admin.site.unregister([BlacklistedToken, OutstandingToken])


class Picker(AutocompleteSelect):
    """Django's input with suggestions, which expects that a primary key was posted."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        keys = [key for key in value if key.isdecimal() and len(key) <= MAX_DIGITS]
        return super().optgroups(name, keys, attr)


class PickerMixin(BaseModelAdmin):
    """Uses `Picker` for related rows."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["widget"] = Picker(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class UndeletableAdmin(PickerMixin, admin.ModelAdmin):
    """Pages without deletion, for rows that others refer to."""

    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Tenant)
class TenantAdmin(UndeletableAdmin):
    """Tenants."""

    list_display = ("name", "biz_id")
    readonly_fields: ClassVar = ("biz_id",)
    search_fields = ("name", "biz_id")
    ordering = ("name",)


class MembershipInline(PickerMixin, admin.TabularInline):
    """The members of a workspace."""

    model = Membership
    extra = 0
    verbose_name = "member"
    verbose_name_plural = "members"


@admin.register(Workspace)
class WorkspaceAdmin(UndeletableAdmin):
    """Workspaces and their members."""

    list_display = ("name", "biz_id", "tenant", "is_active")
    list_filter = ("is_active",)
    list_select_related = ("tenant",)
    search_fields = ("name", "biz_id", "tenant__name", "tenant__biz_id")
    inlines: ClassVar = [MembershipInline]
    ordering = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The tenant too, because moving a workspace would give its connections to others."""
        return ("biz_id", "tenant") if obj else ("biz_id",)
