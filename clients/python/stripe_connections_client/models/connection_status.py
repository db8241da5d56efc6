from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define

from ..models.connection_status_status import ConnectionStatusStatus

T = TypeVar("T", bound="ConnectionStatus")


@_attrs_define
class ConnectionStatus:
    """
    Attributes:
        connection_biz_id (str): The connection to change.
        status (ConnectionStatusStatus):
    """

    connection_biz_id: str
    status: ConnectionStatusStatus

    def to_dict(self) -> dict[str, Any]:
        connection_biz_id = self.connection_biz_id

        status = self.status.value

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "connectionBizId": connection_biz_id,
                "status": status,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        connection_biz_id = d.pop("connectionBizId")

        status = ConnectionStatusStatus(d.pop("status"))

        connection_status = cls(
            connection_biz_id=connection_biz_id,
            status=status,
        )

        return connection_status
