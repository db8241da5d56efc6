from enum import StrEnum


class ListConnectionsSort(StrEnum):
    CREATED = "created"
    NAME = "name"
    UPDATED = "updated"
    VALUE_1 = "-created"
    VALUE_3 = "-name"
    VALUE_5 = "-updated"

    def __str__(self) -> str:
        return str(self.value)
