from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.field_error_code import FieldErrorCode
from ..types import UNSET, Unset

T = TypeVar("T", bound="FieldError")


@_attrs_define
class FieldError:
    """
    Attributes:
        field (None | str): The name that was sent; null if the error concerns the whole body, or if the name could
            contain a secret.
        code (FieldErrorCode): One code for each cause. Later versions may add codes.
        message (str):
        limit (int | Unset): The limit in the message, with `max_length` and `out_of_range`.
        prefixes (list[str] | Unset): The prefixes in the message, if it has any.
    """

    field: None | str
    code: FieldErrorCode
    message: str
    limit: int | Unset = UNSET
    prefixes: list[str] | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        field: None | str
        field = self.field

        code = self.code.value

        message = self.message

        limit = self.limit

        prefixes: list[str] | Unset = UNSET
        if not isinstance(self.prefixes, Unset):
            prefixes = self.prefixes

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "field": field,
                "code": code,
                "message": message,
            }
        )
        if limit is not UNSET:
            field_dict["limit"] = limit
        if prefixes is not UNSET:
            field_dict["prefixes"] = prefixes

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)

        def _parse_field(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        field = _parse_field(d.pop("field"))

        code = FieldErrorCode(d.pop("code"))

        message = d.pop("message")

        limit = d.pop("limit", UNSET)

        prefixes = cast(list[str], d.pop("prefixes", UNSET))

        field_error = cls(
            field=field,
            code=code,
            message=message,
            limit=limit,
            prefixes=prefixes,
        )

        field_error.additional_properties = d
        return field_error

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
