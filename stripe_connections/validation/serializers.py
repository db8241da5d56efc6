"""The fields of a connection and their rules: for the API, the admin and the commands."""

from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.serializers import empty

from config.web_chain.serializers import StrictCharField, StrictSerializer
from stripe_connections import models
from stripe_connections.models import SECRET_FIELDS, Status
from stripe_connections.validation.endpoints import validate_partner_endpoint
from stripe_connections.validation.fields import (
    validate_api_key,
    validate_config_json,
    validate_connection_description,
    validate_connection_name,
    validate_stripe_account_id,
    validate_webhook_secret,
)


class StatusField(StrictCharField):
    """The name of a status."""

    def run_validation(self, data: Any = empty) -> Any:
        name = str(data).upper()
        if name not in Status.names:
            raise ValidationError(f"Must be {' or '.join(Status.names)}.", code="not_a_choice")
        return Status[name]


class ConnectionSerializer(StrictSerializer):
    """The fields that can be changed.

    An omitted field, null and a value differ: an omitted field is not in `validated_data`.
    """

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


class ChangesSerializer(ConnectionSerializer):
    """The same fields and the status, which only staff and operators can change."""

    status = StatusField(required=False)


# Column name to the name in the API.
API_NAMES = {str(field.source): name for name, field in ChangesSerializer().fields.items()}
SECRET_NAMES = tuple(API_NAMES[name] for name in SECRET_FIELDS)
