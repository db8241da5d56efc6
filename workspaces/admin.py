"""Staff look after tenants, workspaces and members."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Field, QuerySet
from django.http import HttpRequest
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from config.web_chain.parsers import find_bad_character
from workspaces.models import Membership, Role, Tenant, Workspace

ROLES_IN_WORDS = {
    Role.MANAGER: "Manager: sees the workspace's connections and changes them over the API",
    Role.VIEWER: "Viewer: sees them and changes nothing",
}

# Their pages show refresh tokens, with which anybody could be somebody else.
admin.site.unregister([BlacklistedToken, OutstandingToken])


class KeptAdmin(admin.ModelAdmin):
    """Rows that others point to and that nobody deletes here."""

    readonly_fields: ClassVar = ("biz_id",)
    show_full_result_count = False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Without asking PostgreSQL for a character that it cannot store."""
        if find_bad_character(search_term):
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Tenant)
class TenantAdmin(KeptAdmin):
    """Tenants."""

    list_display = ("name", "biz_id")
    search_fields = ("name", "biz_id")
    ordering = ("name",)


class MembershipInline(admin.TabularInline):
    """Who belongs to a workspace."""

    model = Membership
    autocomplete_fields = ("user",)
    extra = 0
    verbose_name = "member"
    verbose_name_plural = "members"

    def formfield_for_choice_field(
        self, db_field: Field, request: HttpRequest, **kwargs: Any
    ) -> Any:
        """The roles in words."""
        kwargs["choices"] = [(role.value, words) for role, words in ROLES_IN_WORDS.items()]
        return super().formfield_for_choice_field(db_field, request, **kwargs)


@admin.register(Workspace)
class WorkspaceAdmin(KeptAdmin):
    """Workspaces and their members."""

    list_display = ("name", "biz_id", "tenant", "is_active")
    list_filter = ("is_active",)
    list_select_related = ("tenant",)
    search_fields = ("name", "biz_id", "tenant__name", "tenant__biz_id")
    autocomplete_fields = ("tenant",)
    inlines: ClassVar = [MembershipInline]
    ordering = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A workspace stays with its tenant: its connections would move to another one's people."""
        return ("biz_id", "tenant") if obj else ("biz_id",)
