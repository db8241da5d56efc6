from enum import StrEnum


class EntrySource(StrEnum):
    ADMIN = "admin"
    API = "api"
    COMMAND = "command"

    def __str__(self) -> str:
        return str(self.value)
