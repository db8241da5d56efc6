"""The bodies and queries of the calls on connections."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from rest_framework.serializers import Field, empty

from config.web_chain.serializers import (
    MAX_PAGE,
    ChoiceField,
    NumberField,
    StrictCharField,
    StrictSerializer,
)
from stripe_connections import models
from stripe_connections.models import SECRET_FIELDS
from stripe_connections.queries import KEYS
from stripe_connections.stripe_api.replies import Cause, Verification
from stripe_connections.validation.serializers import SECRET_NAMES, ConnectionSerializer
from workspaces import business_ids

# Seven days. Stripe signs with both secrets for up to 24 hours
# (https://docs.stripe.com/webhooks#roll-endpoint-secrets).
MAX_KEEP_SECONDS = 7 * 24 * 3600
STATUSES = {status.name: status.value for status in models.Status}
SWITCH = {"true": True, "false": False}
SORTS = [f"{sign}{name}" for name in KEYS for sign in ("", "-")]
# With the key of the last connection, a lower-case name at most. Lower case can be longer.
MAX_POSITION = business_ids.MAX_LENGTH + 1 + 3 * models.NAME_LENGTH


def _verbatim(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


class PageSerializer(StrictSerializer):
    """The query of the list call: the arguments of `queries.page_of_connections`."""

    status = ChoiceField(STATUSES, required=False)
    mode = ChoiceField(_verbatim(models.Mode.values), required=False)
    stripeAccountId = StrictCharField(
        source="stripe_account_id", required=False, max_length=models.ACCOUNT_ID_LENGTH
    )
    outcome = ChoiceField(_verbatim(Verification.values), required=False)
    cause = ChoiceField(_verbatim(Cause.values), required=False)
    hasWebhookSecret = ChoiceField(SWITCH, source="has_webhook_secret", required=False)
    search = StrictCharField(required=False, allow_blank=True, max_length=models.NAME_LENGTH)
    sort = ChoiceField(_verbatim(SORTS), required=False)
    count = ChoiceField(SWITCH, required=False)
    limit = NumberField(required=False, highest=MAX_PAGE)
    after = StrictCharField(required=False, max_length=MAX_POSITION)


class HistoryPageSerializer(StrictSerializer):
    """The query of the history call: the arguments of `history.page_of_history`."""

    limit = NumberField(required=False, highest=MAX_PAGE)
    before = NumberField(required=False, highest=10**18)


class VerifyConnectionSerializer(StrictSerializer):
    """The body of the verify call: which connection."""

    connectionBizId = StrictCharField(source="biz_id", max_length=business_ids.MAX_LENGTH)


class RestoreSecretSerializer(VerifyConnectionSerializer):
    """The body of the restore call: which secret of which connection."""

    field = ChoiceField(dict(zip(SECRET_NAMES, SECRET_FIELDS, strict=True)), source="name")


class KeepSecondsField(Field[int, int, int, Any]):
    """For how many seconds a replaced secret stays valid."""

    def run_validation(self, data: Any = empty) -> int:
        # In JSON, 60.0 is a whole number, too.
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        # Not `isinstance`, because True is an int, too.
        if type(data) is int and 0 <= data <= MAX_KEEP_SECONDS:
            return data
        codes = {int: "out_of_range", type(None): "null"}
        message = f"Must be a whole number from 0 to {MAX_KEEP_SECONDS:,}."
        params = {"limit": MAX_KEEP_SECONDS}
        raise ValidationError(message, codes.get(type(data), "invalid_type"), params)


class ConnectionStatusSerializer(VerifyConnectionSerializer):
    """The body of the status call: which connection, and its new status."""

    status = ChoiceField(STATUSES)


class _ChangesSerializer(ConnectionSerializer):
    """The changes; what a response contains besides is ignored."""

    ignored_names: ClassVar[frozenset[str]] = frozenset(
        {"bizId", "tenantBizId", "status", "statusName", "createdAt", "updatedAt", "extra"}
    )


class UpdateConnectionSerializer(VerifyConnectionSerializer, _ChangesSerializer):
    """The body of the update call: which connection, and the changes."""

    webhookSecretKeepSeconds = KeepSecondsField(source="keep_seconds", required=False)


class CreateConnectionSerializer(_ChangesSerializer):
    """The body of the create call: the fields of an update; the name is required."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fields["connectionName"].required = True


class SentBackConnectionSerializer(_ChangesSerializer):
    """An object of list or detail as the body of the update call: `bizId` is the connection."""

    ignored_names = _ChangesSerializer.ignored_names - {"bizId"}

    webhookSecretKeepSeconds = KeepSecondsField(source="keep_seconds", required=False)
    bizId = StrictCharField(source="biz_id", max_length=business_ids.MAX_LENGTH)
