from enum import StrEnum


class RestoreSecretField(StrEnum):
    APIKEY = "apiKey"
    WEBHOOKSECRET = "webhookSecret"

    def __str__(self) -> str:
        return str(self.value)
