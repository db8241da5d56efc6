"""The fields of a connection and their rules: for the API, the admin and the commands."""

from functools import partial
from typing import Any

from rest_framework.serializers import empty

from config.web_chain.serializers import ChoiceField, StrictCharField, StrictSerializer
from stripe_connections import models
from stripe_connections.models import SECRET_FIELDS, Status
from stripe_connections.validation import endpoints, fields

_optional = partial(StrictCharField, required=False)


class StatusField(ChoiceField):
    """The name of a status, in upper or lower case."""

    def run_validation(self, data: Any = empty) -> Any:
        return super().run_validation(str(data).upper())


class ConnectionSerializer(StrictSerializer):
    """The fields that can be changed.

    An omitted field, null and a value differ: an omitted field is not in `validated_data`.
    """

    connectionName = _optional(
        source="connection_name",
        max_length=models.NAME_LENGTH,
        validator=fields.validate_connection_name,
    )
    connectionDescription = _optional(
        source="connection_description",
        allow_null=True,
        allow_blank=True,
        trim_whitespace=False,
        max_length=models.DESCRIPTION_LENGTH,
        validator=fields.validate_connection_description,
    )
    stripeAccountId = _optional(
        source="stripe_account_id",
        allow_null=True,
        max_length=models.ACCOUNT_ID_LENGTH,
        validator=fields.validate_stripe_account_id,
    )
    apiKey = _optional(
        source="api_key", max_length=models.SECRET_LENGTH, validator=fields.validate_api_key
    )
    webhookSecret = _optional(
        source="webhook_secret",
        max_length=models.SECRET_LENGTH,
        validator=fields.validate_webhook_secret,
    )
    partnerEndpoint = _optional(
        source="partner_endpoint",
        allow_null=True,
        max_length=models.ENDPOINT_LENGTH,
        validator=endpoints.validate_partner_endpoint,
    )
    configJson = _optional(
        source="config_json",
        allow_null=True,
        trim_whitespace=False,
        validator=fields.validate_config_json,
    )


class ChangesSerializer(ConnectionSerializer):
    """The same fields and the status, which only staff and operators can change."""

    status = StatusField(
        dict(Status.__members__), required=False, trim_whitespace=False, allow_blank=True
    )


# Column name to the name in the API.
API_NAMES = {str(field.source): name for name, field in ChangesSerializer().fields.items()}
SECRET_NAMES = tuple(API_NAMES[name] for name in SECRET_FIELDS)
