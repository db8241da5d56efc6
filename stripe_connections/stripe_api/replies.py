"""What is sent to Stripe about an API key, and what its replies mean.

One HTTP status stands for several verdicts, so that type, code and text decide: RULES is the table.
"""

import json
import re
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db import models

# What the columns hold, in characters.
CAUSE_LENGTH = 32
PERMISSION_LENGTH = 1_000
# The columns, in the order of the fields of `Reply`.
VERIFICATION_FIELDS = (
    "verification",
    "verification_at",
    "verification_account_id",
    "missing_permission",
    "verification_cause",
)


class Verification(models.TextChoices):
    """What Stripe said about an API key."""

    VERIFIED = "verified", "Verified"
    RESTRICTED = "restricted", "Restricted"
    REJECTED = "rejected", "Rejected"
    UNVERIFIED = "unverified", "Unverified"


class Cause(models.TextChoices):
    """Why Stripe's reply was what it was; the label says what to do."""

    CONNECTED = "connected", "The key belongs to a platform that may use this account."
    MISSING_PERMISSION = (
        "missing_permission",
        "The key works, but lacks a permission. If its account was named, it was compared.",
    )
    REQUIRED_PERMISSION = (
        "required_permission",
        "The key lacks required permissions: enable them in the Stripe Dashboard.",
    )
    EXPIRED = "expired", "The key has expired: create a new one in the Stripe Dashboard."
    NOT_ACCEPTED = (
        "not_accepted",
        "Stripe does not accept the key: copy it again, or create a new one in the Dashboard.",
    )
    ACCOUNT_NOT_ACCESSIBLE = (
        "account_not_accessible",
        "The key cannot use this account: the account ID is wrong, or access was revoked.",
    )
    MISMATCH = (
        "mismatch",
        "The key belongs to another account: replace the key, or correct the account ID.",
    )
    IP_NOT_ALLOWED = (
        "ip_not_allowed",
        "The key's IP allowlist does not include this server: add its address in the Dashboard.",
    )
    RATE_LIMITED = "rate_limited", "Stripe is receiving too many requests: verify again later."
    STRIPE_ERROR = "stripe_error", "Stripe failed: verify again later."
    UNREACHABLE = (
        "unreachable",
        "Stripe did not answer in time: check that this server can reach it, and verify again.",
    )
    BUSY = "busy", "Too many keys were being verified at once: verify again."
    UNKNOWN_REPLY = (
        "unknown_reply",
        "Stripe did not say whether the key works: see its request log.",
    )


@dataclass(frozen=True)
class Request:
    """A key to verify, with the account and the workspace that it is meant for."""

    api_key: str = field(repr=False)
    account_id: str | None
    workspace_id: int

    @property
    def is_complete(self) -> bool:
        """Whether it can be sent: an organization's key needs an account."""
        return bool(self.api_key and (self.account_id or not self._is_of_organization))

    @property
    def context(self) -> str | None:
        """The account that has to be named, because an organization's key can use several.

        See https://docs.stripe.com/keys#organization-api-keys.
        """
        return self.account_id if self._is_of_organization else None

    @property
    def _is_of_organization(self) -> bool:
        return self.api_key.startswith("sk_org_")


@dataclass(frozen=True)
class Reply:
    """What Stripe said about an API key: the reply to a request, or what a connection stores of it.

    Without `at`, no request was sent.
    """

    verification: str = Verification.UNVERIFIED.value
    at: datetime | None = None
    account_id: str | None = None
    missing_permission: str | None = None
    cause: str | None = None
    # Not stored: the key's fingerprints under every key of the ring, and the HTTP status.
    fingerprints: frozenset[str] = frozenset()
    status: int | None = None

    @property
    def is_conclusive(self) -> bool:
        """Whether Stripe knows the key or rejects it."""
        return self.verification != Verification.UNVERIFIED

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that store it, and their values."""
        return dict(zip(VERIFICATION_FIELDS, astuple(self), strict=False))

    @property
    def explanation(self) -> str:
        """The cause, and what to do about it, for people."""
        return Cause(self.cause).label if self.cause else ""

    def is_of_other_account(self, account_id: str | None) -> bool:
        """Whether the key belongs to another account than this one, if both are known."""
        return bool(self.account_id and account_id and self.account_id != account_id)

    def for_account(self, account_id: str | None) -> "Reply":
        """What a connection of that account stores: the key of another account is rejected."""
        if not self.is_of_other_account(account_id):
            return self
        return replace(self, verification=Verification.REJECTED.value, cause=Cause.MISMATCH.value)

    def rejection(self, account_id: str | None) -> str:
        """Why a connection of that account cannot use the key, which is rejected."""
        if self.account_id:
            return f"The API key belongs to {self.account_id}, not to {account_id}."
        return self.explanation or "Stripe rejects the API key."


class Rule(NamedTuple):
    """What an error means that has this status, and one of `codes` or else this text."""

    status: int
    codes: tuple[str, ...]
    text: str
    verification: Verification
    cause: Cause


# An error that no rule knows means that Stripe did not say; the first rule that fits decides.
# Sources: https://docs.stripe.com/error-codes (api_key_expired, platform_api_key_expired,
# account_invalid), https://docs.stripe.com/keys#limit-api-secret-keys-ip-address (addresses), and
# for the wordings stripe/stripe-node#2246, dj-stripe/dj-stripe#1131, stripe/stripe-apps#458.
RULES = (
    Rule(401, (), r"does not allow requests from your IP address", Verification.UNVERIFIED,
         Cause.IP_NOT_ALLOWED),
    Rule(401, ("api_key_expired", "platform_api_key_expired"), r"^Expired API Key provided",
         Verification.REJECTED, Cause.EXPIRED),
    Rule(401, (), r"", Verification.REJECTED, Cause.NOT_ACCEPTED),
    Rule(403, ("account_invalid",), r"does not have access to account '", Verification.REJECTED,
         Cause.ACCOUNT_NOT_ACCESSIBLE),
    # "This application does not …" is about a Stripe App and not about a key.
    Rule(403, ("more_permissions_required",),
         r"provided key '[^']*' does not have the required permissions|\brak_[a-z0-9_]+\b",
         Verification.RESTRICTED, Cause.MISSING_PERMISSION),
)  # fmt: skip

_account_id = re.compile(r"acct_[A-Za-z0-9]{1,250}")
_named_account = re.compile(r"\bon account '(acct_[A-Za-z0-9]{1,250})'").search
# Having the 'rak_accounts_kyc_basic_read' permission would allow this request to continue.
_old_permission = re.compile(r"(?<![A-Za-z0-9_])rak_[a-z0-9_]{1,60}\b").search
# Enabling "Prices Read" ('plan_read') permissions on this key would allow this request …
_new_permission = re.compile(
    r"""Enabling ["']?([A-Z][A-Za-z ,&/-]{0,60})["']? \('([a-z0-9_]{1,60})'\) permissions"""
).search


def read(status: int, body: bytes) -> Reply:
    """What a response of Stripe means: account, permission and cause, and nothing of its text.

    Stripe's texts repeat what was typed, and its library puts them into logs and exceptions.
    """
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    match content:
        case {"id": str(account_id)} if status == 200 and _account_id.fullmatch(account_id):
            return Reply(Verification.VERIFIED.value, account_id=account_id, status=status)
        case {"error": dict(error)}:
            return _error(status, str(error.get("code")), str(error.get("message")))
    return Reply(cause=_cause(status).value, status=status)


def _error(status: int, code: str, text: str) -> Reply:
    for rule in RULES:
        if rule.status == status and (code in rule.codes or re.search(rule.text, text)):
            break
    else:
        return Reply(cause=_cause(status).value, status=status)
    reply = Reply(rule.verification.value, cause=rule.cause.value, status=status)
    if rule.verification != Verification.RESTRICTED:
        return reply
    account, new, old = _named_account(text), _new_permission(text), _old_permission(text)
    permission = f"{new[1]} ({new[2]})" if new else old and old[0]
    return replace(reply, account_id=account and account[1], missing_permission=permission)


def _cause(status: int) -> Cause:
    if status == 429:
        return Cause.RATE_LIMITED
    return Cause.STRIPE_ERROR if status >= 500 else Cause.UNKNOWN_REPLY
