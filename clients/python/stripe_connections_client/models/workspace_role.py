from enum import StrEnum


class WorkspaceRole(StrEnum):
    MANAGER = "manager"
    VIEWER = "viewer"

    def __str__(self) -> str:
        return str(self.value)
