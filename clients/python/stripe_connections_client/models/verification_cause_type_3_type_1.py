from enum import StrEnum


class VerificationCauseType3Type1(StrEnum):
    ACCOUNT_NOT_ACCESSIBLE = "account_not_accessible"
    BUSY = "busy"
    CONNECTED = "connected"
    EXPIRED = "expired"
    IP_NOT_ALLOWED = "ip_not_allowed"
    MISMATCH = "mismatch"
    MISSING_PERMISSION = "missing_permission"
    NOT_ACCEPTED = "not_accepted"
    RATE_LIMITED = "rate_limited"
    REQUIRED_PERMISSION = "required_permission"
    STRIPE_ERROR = "stripe_error"
    UNKNOWN_REPLY = "unknown_reply"
    UNREACHABLE = "unreachable"

    def __str__(self) -> str:
        return str(self.value)
