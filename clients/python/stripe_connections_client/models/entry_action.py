from enum import StrEnum


class EntryAction(StrEnum):
    CHANGED = "changed"
    CREATED = "created"
    EXPORTED = "exported"
    REMOVED = "removed"

    def __str__(self) -> str:
        return str(self.value)
