from enum import StrEnum


class VerificationOutcome(StrEnum):
    REJECTED = "rejected"
    RESTRICTED = "restricted"
    UNVERIFIED = "unverified"
    VERIFIED = "verified"

    def __str__(self) -> str:
        return str(self.value)
