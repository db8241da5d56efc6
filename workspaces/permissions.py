"""What a caller may do in a workspace."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from workspaces.models import MANAGE, READ, ROLE_PERMISSIONS, Membership


class HasWorkspacePermission(BasePermission):
    """The caller's role in the workspace of the path gives `permission`.

    No membership, an inactive workspace and one that does not exist are all the same refusal, so
    that nobody learns which workspaces exist.
    """

    permission: str

    def has_permission(self, request: Request, view: Any) -> bool:
        membership = request.auth
        if not isinstance(membership, Membership):
            return False
        return self.permission in ROLE_PERMISSIONS[membership.role]


class CanReadWorkspace(HasWorkspacePermission):
    """The caller has `workspace:read`."""

    permission = READ


class CanManageWorkspace(HasWorkspacePermission):
    """The caller has `workspace:manage`."""

    permission = MANAGE
