"""The update call's body and its answer."""

from typing import Any, ClassVar

from rest_framework import serializers

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


class UpdateConnectionSerializer(StrictSerializer):
    """The update call's body: which connection, and what to change of it.

    Omitted, null and a value are three things: what was omitted is not in `validated_data`.
    """

    ignored_names: ClassVar[frozenset[str]] = frozenset(
        {"bizId", "tenantBizId", "status", "statusName", "createdAt", "updatedAt"}
    )

    connectionBizId = StrictCharField(source="biz_id", max_length=business_ids.MAX_LENGTH)
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

    def may_repeat(self, name: str) -> bool:
        """As everywhere, and nothing that may be a key pasted in the wrong place."""
        return super().may_repeat(name) and not looks_like_a_key(name)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """`{"biz_id": …, "changes": {…}}`."""
        values = super().to_internal_value(data)
        return {"biz_id": values.pop("biz_id"), "changes": values}
