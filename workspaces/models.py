"""Tenants, their workspaces and members."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models

from workspaces import business_ids
from workspaces.constraints import length_between
from workspaces.search import folded

# By how much the clocks of two machines may differ.
MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)

READ = "workspace:read"
MANAGE = "workspace:manage"


class Role(models.TextChoices):
    """The role of a member in a workspace, and what the admin says about it."""

    MANAGER = "manager", "Manager: sees the connections and changes them over the API"
    VIEWER = "viewer", "Viewer: sees the connections and changes nothing"


# What each role may do in its workspace.
ROLE_PERMISSIONS: dict[str, frozenset[str]] = {
    Role.MANAGER: frozenset({READ, MANAGE}),
    Role.VIEWER: frozenset({READ}),
}


class Tenant(models.Model):
    """A customer."""

    biz_id = business_ids.field("tn")
    name = models.CharField(max_length=128)

    class Meta:
        indexes: ClassVar = [
            models.Index(folded("name"), name="tenant_search_name"),
            models.Index(folded("biz_id"), name="tenant_search_biz_id"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="tenant_biz_id", condition=business_ids.condition("tn")),
            models.CheckConstraint(name="tenant_name", condition=length_between("name", 1, 128)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.biz_id})"


class Workspace(models.Model):
    """A part of a tenant, with its members and connections."""

    biz_id = business_ids.field("ws")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="workspaces")
    name = models.CharField(max_length=128)
    is_active = models.BooleanField(
        default=True, help_text="The API refuses every call to an inactive workspace."
    )

    class Meta:
        indexes: ClassVar = [
            models.Index(folded("name"), name="workspace_search_name"),
            models.Index(folded("biz_id"), name="workspace_search_biz_id"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="workspace_biz_id", condition=business_ids.condition("ws")),
            models.CheckConstraint(name="workspace_name", condition=length_between("name", 1, 128)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.biz_id})"


class Membership(models.Model):
    """A user's role in a workspace. Without one, the user has no permission there."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="membership_unique", fields=["user", "workspace"]),
            models.CheckConstraint(
                name="membership_role", condition=models.Q(role__in=[role.value for role in Role])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.workspace}"


class CallCount(models.Model):
    """The number of calls that a caller made in the current window; see `throttles.py`."""

    key = models.CharField(max_length=128, primary_key=True)
    window_end = models.BigIntegerField(db_index=True, help_text="Seconds since the epoch.")
    calls = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.calls} calls until {self.window_end}"
