from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="Change")


@_attrs_define
class Change:
    """
    Attributes:
        field (str): The name in the update call, or `status` or `verification`.
        old (int | None | str): For a secret, its hint; a new one follows the word "replaced" or "restored".
        new (int | None | str): For a secret, its hint; a new one follows the word "replaced" or "restored".
    """

    field: str
    old: int | None | str
    new: int | None | str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        field = self.field

        old: int | None | str
        old = self.old

        new: int | None | str
        new = self.new

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "field": field,
                "old": old,
                "new": new,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        field = d.pop("field")

        def _parse_old(data: object) -> int | None | str:
            if data is None:
                return data
            return cast(int | None | str, data)

        old = _parse_old(d.pop("old"))

        def _parse_new(data: object) -> int | None | str:
            if data is None:
                return data
            return cast(int | None | str, data)

        new = _parse_new(d.pop("new"))

        change = cls(
            field=field,
            old=old,
            new=new,
        )

        change.additional_properties = d
        return change

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
