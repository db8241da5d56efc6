"""What the calls on connections answer."""

import re

from rest_framework import serializers

from config.web_chain.serializers import SharedFieldsSerializer, UTCField
from stripe_connections import models
from stripe_connections.audit import history
from stripe_connections.models import Status


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


class ChangeSerializer(SharedFieldsSerializer):
    """What became of one field, by `history.Change`."""

    field = serializers.SerializerMethodField()
    old = serializers.JSONField()
    new = serializers.JSONField()

    def get_field(self, change: history.Change) -> str:
        """As the API calls it."""
        return re.sub("_([a-z])", lambda found: found[1].upper(), change.name)


class EntrySerializer(SharedFieldsSerializer):
    """One record of the audit, by `history.Entry`."""

    number = serializers.IntegerField()
    at = UTCField(source="moment")
    action = serializers.CharField()
    actor = serializers.SerializerMethodField()
    source = serializers.CharField()  # type: ignore[assignment]
    requestId = serializers.SerializerMethodField()
    version = serializers.IntegerField()
    changes = ChangeSerializer(many=True)

    def get_actor(self, entry: history.Entry) -> str | None:
        return entry.username or None

    def get_requestId(self, entry: history.Entry) -> str | None:  # noqa: N802
        return entry.request_id or None


class HistorySerializer(SharedFieldsSerializer):
    """A page of a connection's history, by `history.Page`."""

    items = EntrySerializer(many=True)
    nextBefore = serializers.IntegerField(source="next_before")
