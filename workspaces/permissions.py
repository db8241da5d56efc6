"""Permission classes for the workspace in the path."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from workspaces.models import MANAGE, READ, ROLE_PERMISSIONS, Membership


class HasWorkspacePermission(BasePermission):
    """The caller's role in the workspace of the path includes `permission`.

    The refusal is the same without a membership, in an inactive workspace, and in one that does not
    exist, so that a caller cannot find out which workspaces exist.
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
