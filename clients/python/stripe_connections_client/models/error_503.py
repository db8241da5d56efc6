from __future__ import annotations

from collections.abc import Mapping
from typing import (
    Any,
    Literal,
    TypeVar,
    cast,
)

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="Error503")


@_attrs_define
class Error503:
    """The first keys of every response under /web/.

    Attributes:
        version (str): The version of the API.
        timestamp (int): The time of the response, in milliseconds since the epoch.
        success (bool):
        code (Literal['5030']):
        message (str): For people.
    """

    version: str
    timestamp: int
    success: bool
    code: Literal["5030"]
    message: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        version = self.version

        timestamp = self.timestamp

        success = self.success

        code = self.code

        message = self.message

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "version": version,
                "timestamp": timestamp,
                "success": success,
                "code": code,
                "message": message,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        version = d.pop("version")

        timestamp = d.pop("timestamp")

        success = d.pop("success")

        code = cast(Literal["5030"], d.pop("code"))
        if code != "5030":
            raise ValueError(f"code must match const '5030', got '{code}'")

        message = d.pop("message")

        error_503 = cls(
            version=version,
            timestamp=timestamp,
            success=success,
            code=code,
            message=message,
        )

        error_503.additional_properties = d
        return error_503

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
