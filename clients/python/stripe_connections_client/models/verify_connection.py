from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define

T = TypeVar("T", bound="VerifyConnection")


@_attrs_define
class VerifyConnection:
    """
    Attributes:
        connection_biz_id (str): The connection to verify.
    """

    connection_biz_id: str

    def to_dict(self) -> dict[str, Any]:
        connection_biz_id = self.connection_biz_id

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "connectionBizId": connection_biz_id,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        connection_biz_id = d.pop("connectionBizId")

        verify_connection = cls(
            connection_biz_id=connection_biz_id,
        )

        return verify_connection
