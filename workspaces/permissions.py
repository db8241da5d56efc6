"""Permission classes for the workspace in the path."""

from typing import Any, cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from workspaces.authentication import Caller
from workspaces.models import MANAGE, READ, ROLE_PERMISSIONS


class HasWorkspacePermission(BasePermission):
    """The caller's role in the workspace of the path includes `permission`.

    The refusal is the same without a membership, in an inactive workspace, and in one that does not
    exist, so that a caller cannot find out which workspaces exist.
    """

    permission: str

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = cast("Caller | None", request.auth)
        return caller is not None and self.permission in ROLE_PERMISSIONS[caller.role]


class CanReadWorkspace(HasWorkspacePermission):
    """The caller has `workspace:read`."""

    permission = READ


class CanManageWorkspace(HasWorkspacePermission):
    """The caller has `workspace:manage`."""

    permission = MANAGE
