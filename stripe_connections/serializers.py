"""The bodies, queries and answers of the calls on connections."""

import re
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from rest_framework import serializers
from rest_framework.serializers import empty

from config.web_chain.serializers import (
    SharedFieldsSerializer,
    StrictCharField,
    StrictSerializer,
    UTCField,
)
from stripe_connections import models
from stripe_connections.endpoints import validate_partner_endpoint
from stripe_connections.models import Status
from stripe_connections.validators import (
    looks_like_a_key,
    validate_api_key,
    validate_config_json,
    validate_connection_description,
    validate_connection_name,
    validate_stripe_account_id,
    validate_webhook_secret,
)
from workspaces import business_ids

MAX_PAGE = 100


class StripeConnectionSerializer(SharedFieldsSerializer):
    """A connection as the API shows it: these eleven keys, in this order, and never a secret."""

    bizId = serializers.CharField(source="biz_id")
    tenantBizId = serializers.CharField(source="workspace.tenant.biz_id")
    connectionName = serializers.CharField(source="connection_name")
    connectionDescription = serializers.CharField(source="connection_description")
    stripeAccountId = serializers.CharField(source="stripe_account_id")
    partnerEndpoint = serializers.CharField(source="partner_endpoint")
    configJson = serializers.CharField(source="config_json")
    status = serializers.IntegerField()
    statusName = serializers.SerializerMethodField()
    createdAt = UTCField(source="created_at")
    updatedAt = UTCField(source="updated_at")

    def get_statusName(self, connection: models.StripeConnection) -> str:  # noqa: N802
        return Status(connection.status).name


class VerificationSerializer(SharedFieldsSerializer):
    """What Stripe said of the API key, by `models.Outcome`."""

    outcome = serializers.CharField(source="verification")
    at = UTCField()
    accountId = serializers.CharField(source="account_id")
    missingPermission = serializers.CharField(source="missing_permission")


class ExtraSerializer(SharedFieldsSerializer):
    """What a settings page shows besides the eleven keys; of a secret the hint."""

    version = serializers.IntegerField()
    mode = serializers.SerializerMethodField()
    apiKeyHint = serializers.CharField(source="api_key_hint")
    webhookSecretHint = serializers.CharField(source="webhook_secret_hint")
    hasWebhookSecret = serializers.SerializerMethodField()
    verification = VerificationSerializer(source="outcome")

    def get_mode(self, connection: models.StripeConnection) -> str | None:
        return connection.mode or None

    def get_hasWebhookSecret(self, connection: models.StripeConnection) -> bool:  # noqa: N802
        return connection.webhook_secret_hint is not None


class ConnectionDetailSerializer(StripeConnectionSerializer):
    """A connection as the update call shows it, and `extra` apart from that."""

    extra = ExtraSerializer(source="*")


class ConnectionPageSerializer(SharedFieldsSerializer):
    """A page of connections, by `selectors.Page`."""

    items = ConnectionDetailSerializer(many=True)
    nextAfter = serializers.CharField(source="next_after")


class LimitField(StrictCharField):
    """How many a page may have, in a query."""

    def run_validation(self, data: Any = empty) -> Any:
        text = super().run_validation(data)
        if not re.fullmatch("[0-9]{1,3}", text or "") or not 1 <= int(text or 0) <= MAX_PAGE:
            raise ValidationError(f"This must be a number from 1 to {MAX_PAGE}.", code="invalid")
        return int(text or 0)


class StatusField(StrictCharField):
    """The name of a status."""

    def run_validation(self, data: Any = empty) -> Any:
        name = str(data).upper()
        if name not in Status.names:
            raise ValidationError(f"This must be {' or '.join(Status.names)}.", code="invalid")
        return Status[name]


class PageSerializer(StrictSerializer):
    """The query of a list of connections, by the names of `selectors.page_of_connections`."""

    status = StatusField(required=False)
    search = StrictCharField(required=False, allow_blank=True, max_length=models.NAME_LENGTH)
    limit = LimitField(required=False)
    after = StrictCharField(required=False, max_length=business_ids.MAX_LENGTH)


class VerifyConnectionSerializer(StrictSerializer):
    """The verify call's body: which connection."""

    connectionBizId = StrictCharField(source="biz_id", max_length=business_ids.MAX_LENGTH)

    def may_repeat(self, name: str) -> bool:
        """As everywhere, and nothing that may be a key pasted in the wrong place."""
        return super().may_repeat(name) and not looks_like_a_key(name)


class UpdateConnectionSerializer(VerifyConnectionSerializer):
    """The update call's body: which connection, and what to change of it.

    Omitted, null and a value are three things: what was omitted is not in `validated_data`.
    """

    ignored_names: ClassVar[frozenset[str]] = frozenset(
        {"bizId", "tenantBizId", "status", "statusName", "createdAt", "updatedAt", "extra"}
    )

    connectionName = StrictCharField(
        source="connection_name",
        required=False,
        max_length=models.NAME_LENGTH,
        validator=validate_connection_name,
    )
    connectionDescription = StrictCharField(
        source="connection_description",
        required=False,
        allow_null=True,
        allow_blank=True,
        trim_whitespace=False,
        max_length=models.DESCRIPTION_LENGTH,
        validator=validate_connection_description,
    )
    stripeAccountId = StrictCharField(
        source="stripe_account_id",
        required=False,
        allow_null=True,
        max_length=models.ACCOUNT_ID_LENGTH,
        validator=validate_stripe_account_id,
    )
    apiKey = StrictCharField(
        source="api_key",
        required=False,
        max_length=models.SECRET_LENGTH,
        validator=validate_api_key,
    )
    webhookSecret = StrictCharField(
        source="webhook_secret",
        required=False,
        max_length=models.SECRET_LENGTH,
        validator=validate_webhook_secret,
    )
    partnerEndpoint = StrictCharField(
        source="partner_endpoint",
        required=False,
        allow_null=True,
        max_length=models.ENDPOINT_LENGTH,
        validator=validate_partner_endpoint,
    )
    configJson = StrictCharField(
        source="config_json",
        required=False,
        allow_null=True,
        trim_whitespace=False,
        validator=validate_config_json,
    )


class CreateConnectionSerializer(UpdateConnectionSerializer):
    """The create call's body: what an update may set, and a name in any case."""

    connectionBizId = None  # type: ignore[assignment]  # takes the field away
    connectionName = StrictCharField(
        source="connection_name",
        max_length=models.NAME_LENGTH,
        validator=validate_connection_name,
    )


class SentBackConnectionSerializer(UpdateConnectionSerializer):
    """An object of list or detail, sent to the update call: `bizId` says which connection."""

    ignored_names = UpdateConnectionSerializer.ignored_names - {"bizId"}

    connectionBizId = None  # type: ignore[assignment]  # takes the field away
    bizId = StrictCharField(source="biz_id", max_length=business_ids.MAX_LENGTH)


def update_serializer(body: dict[str, Any]) -> UpdateConnectionSerializer:
    """What validates the `body` of an update; only list and detail show `extra`."""
    is_sent_back = "extra" in body and "bizId" in body and "connectionBizId" not in body
    return (SentBackConnectionSerializer if is_sent_back else UpdateConnectionSerializer)(
        data=body, partial=True
    )
