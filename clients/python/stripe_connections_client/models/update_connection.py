from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="UpdateConnection")


@_attrs_define
class UpdateConnection:
    """
    Attributes:
        connection_biz_id (str): The connection to update.
        connection_name (str | Unset): The display name. It has at least one visible character, no control characters,
            and no characters that change the direction of text.
        connection_description (None | str | Unset): No control characters except tabs and line ends. Null clears it; ""
            is stored.
        stripe_account_id (None | str | Unset): Null clears it.
        api_key (str | Unset): A secret, restricted or organization key of Stripe. It can be replaced but not cleared,
            and no response contains it.
        webhook_secret (str | Unset): The signing secret of a webhook endpoint. It can be replaced but not cleared, and
            no response contains it.
        partner_endpoint (None | str | Unset): An https URL of a public host, without user name, password and fragment.
            Private, local and reserved addresses and names are refused. Null clears it.
        config_json (None | str | Unset): A string that contains one JSON object, at most 16 KiB of UTF-8 and 100 levels
            deep. It is stored verbatim. Null clears it.
        webhook_secret_keep_seconds (int | Unset): With a new `webhookSecret`: for how many seconds the replaced one is
            also accepted for events, because Stripe signs with both for up to 24 hours while a secret is rolled. If it is
            omitted, none.
    """

    connection_biz_id: str
    connection_name: str | Unset = UNSET
    connection_description: None | str | Unset = UNSET
    stripe_account_id: None | str | Unset = UNSET
    api_key: str | Unset = UNSET
    webhook_secret: str | Unset = UNSET
    partner_endpoint: None | str | Unset = UNSET
    config_json: None | str | Unset = UNSET
    webhook_secret_keep_seconds: int | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        connection_biz_id = self.connection_biz_id

        connection_name = self.connection_name

        connection_description: None | str | Unset
        if isinstance(self.connection_description, Unset):
            connection_description = UNSET
        else:
            connection_description = self.connection_description

        stripe_account_id: None | str | Unset
        if isinstance(self.stripe_account_id, Unset):
            stripe_account_id = UNSET
        else:
            stripe_account_id = self.stripe_account_id

        api_key = self.api_key

        webhook_secret = self.webhook_secret

        partner_endpoint: None | str | Unset
        if isinstance(self.partner_endpoint, Unset):
            partner_endpoint = UNSET
        else:
            partner_endpoint = self.partner_endpoint

        config_json: None | str | Unset
        if isinstance(self.config_json, Unset):
            config_json = UNSET
        else:
            config_json = self.config_json

        webhook_secret_keep_seconds = self.webhook_secret_keep_seconds

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "connectionBizId": connection_biz_id,
            }
        )
        if connection_name is not UNSET:
            field_dict["connectionName"] = connection_name
        if connection_description is not UNSET:
            field_dict["connectionDescription"] = connection_description
        if stripe_account_id is not UNSET:
            field_dict["stripeAccountId"] = stripe_account_id
        if api_key is not UNSET:
            field_dict["apiKey"] = api_key
        if webhook_secret is not UNSET:
            field_dict["webhookSecret"] = webhook_secret
        if partner_endpoint is not UNSET:
            field_dict["partnerEndpoint"] = partner_endpoint
        if config_json is not UNSET:
            field_dict["configJson"] = config_json
        if webhook_secret_keep_seconds is not UNSET:
            field_dict["webhookSecretKeepSeconds"] = webhook_secret_keep_seconds

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        connection_biz_id = d.pop("connectionBizId")

        connection_name = d.pop("connectionName", UNSET)

        def _parse_connection_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        connection_description = _parse_connection_description(
            d.pop("connectionDescription", UNSET)
        )

        def _parse_stripe_account_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        stripe_account_id = _parse_stripe_account_id(d.pop("stripeAccountId", UNSET))

        api_key = d.pop("apiKey", UNSET)

        webhook_secret = d.pop("webhookSecret", UNSET)

        def _parse_partner_endpoint(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        partner_endpoint = _parse_partner_endpoint(d.pop("partnerEndpoint", UNSET))

        def _parse_config_json(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        config_json = _parse_config_json(d.pop("configJson", UNSET))

        webhook_secret_keep_seconds = d.pop("webhookSecretKeepSeconds", UNSET)

        update_connection = cls(
            connection_biz_id=connection_biz_id,
            connection_name=connection_name,
            connection_description=connection_description,
            stripe_account_id=stripe_account_id,
            api_key=api_key,
            webhook_secret=webhook_secret,
            partner_endpoint=partner_endpoint,
            config_json=config_json,
            webhook_secret_keep_seconds=webhook_secret_keep_seconds,
        )

        return update_connection
