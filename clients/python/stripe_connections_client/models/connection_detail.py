from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.connection_detail_status import ConnectionDetailStatus
from ..models.connection_detail_status_name import ConnectionDetailStatusName

if TYPE_CHECKING:
    from ..models.extra import Extra


T = TypeVar("T", bound="ConnectionDetail")


@_attrs_define
class ConnectionDetail:
    """
    Attributes:
        biz_id (str):
        tenant_biz_id (str):
        connection_name (str):
        connection_description (None | str):
        stripe_account_id (None | str):
        partner_endpoint (None | str):
        config_json (None | str): A string that contains one JSON object.
        status (ConnectionDetailStatus):
        status_name (ConnectionDetailStatusName):
        created_at (datetime.datetime): UTC, in whole seconds.
        updated_at (datetime.datetime): UTC, in whole seconds.
        extra (Extra): What a settings page also shows. Secrets are shown as hints.
    """

    biz_id: str
    tenant_biz_id: str
    connection_name: str
    connection_description: None | str
    stripe_account_id: None | str
    partner_endpoint: None | str
    config_json: None | str
    status: ConnectionDetailStatus
    status_name: ConnectionDetailStatusName
    created_at: datetime.datetime
    updated_at: datetime.datetime
    extra: Extra
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        biz_id = self.biz_id

        tenant_biz_id = self.tenant_biz_id

        connection_name = self.connection_name

        connection_description: None | str
        connection_description = self.connection_description

        stripe_account_id: None | str
        stripe_account_id = self.stripe_account_id

        partner_endpoint: None | str
        partner_endpoint = self.partner_endpoint

        config_json: None | str
        config_json = self.config_json

        status = self.status.value

        status_name = self.status_name.value

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        extra = self.extra.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "bizId": biz_id,
                "tenantBizId": tenant_biz_id,
                "connectionName": connection_name,
                "connectionDescription": connection_description,
                "stripeAccountId": stripe_account_id,
                "partnerEndpoint": partner_endpoint,
                "configJson": config_json,
                "status": status,
                "statusName": status_name,
                "createdAt": created_at,
                "updatedAt": updated_at,
                "extra": extra,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.extra import Extra  # noqa: PLC0415

        d = dict(src_dict)
        biz_id = d.pop("bizId")

        tenant_biz_id = d.pop("tenantBizId")

        connection_name = d.pop("connectionName")

        def _parse_connection_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        connection_description = _parse_connection_description(
            d.pop("connectionDescription")
        )

        def _parse_stripe_account_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        stripe_account_id = _parse_stripe_account_id(d.pop("stripeAccountId"))

        def _parse_partner_endpoint(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        partner_endpoint = _parse_partner_endpoint(d.pop("partnerEndpoint"))

        def _parse_config_json(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        config_json = _parse_config_json(d.pop("configJson"))

        status = ConnectionDetailStatus(d.pop("status"))

        status_name = ConnectionDetailStatusName(d.pop("statusName"))

        created_at = datetime.datetime.fromisoformat(d.pop("createdAt"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updatedAt"))

        extra = Extra.from_dict(d.pop("extra"))

        connection_detail = cls(
            biz_id=biz_id,
            tenant_biz_id=tenant_biz_id,
            connection_name=connection_name,
            connection_description=connection_description,
            stripe_account_id=stripe_account_id,
            partner_endpoint=partner_endpoint,
            config_json=config_json,
            status=status,
            status_name=status_name,
            created_at=created_at,
            updated_at=updated_at,
            extra=extra,
        )

        connection_detail.additional_properties = d
        return connection_detail

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
