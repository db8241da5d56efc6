from enum import StrEnum


class WorkspacePermissionsItem(StrEnum):
    WORKSPACEMANAGE = "workspace:manage"
    WORKSPACEREAD = "workspace:read"

    def __str__(self) -> str:
        return str(self.value)
