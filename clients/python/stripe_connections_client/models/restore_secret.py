from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define

from ..models.restore_secret_field import RestoreSecretField

T = TypeVar("T", bound="RestoreSecret")


@_attrs_define
class RestoreSecret:
    """
    Attributes:
        connection_biz_id (str): The connection.
        field (RestoreSecretField): Which secret.
    """

    connection_biz_id: str
    field: RestoreSecretField

    def to_dict(self) -> dict[str, Any]:
        connection_biz_id = self.connection_biz_id

        field = self.field.value

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "connectionBizId": connection_biz_id,
                "field": field,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        connection_biz_id = d.pop("connectionBizId")

        field = RestoreSecretField(d.pop("field"))

        restore_secret = cls(
            connection_biz_id=connection_biz_id,
            field=field,
        )

        return restore_secret
