from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.entry_action import EntryAction
from ..models.entry_source import EntrySource

if TYPE_CHECKING:
    from ..models.change import Change


T = TypeVar("T", bound="Entry")


@_attrs_define
class Entry:
    """One record of the audit.

    Attributes:
        number (int): The oldest entry of a connection is 1.
        at (datetime.datetime): UTC, in whole seconds.
        action (EntryAction): Later versions may add actions.
        actor (None | str): The user name; null for a program.
        source (EntrySource):
        request_id (None | str): The `X-Request-Id` of the request.
        version (int | None): The version of the connection after the change.
        changes (list[Change]):
    """

    number: int
    at: datetime.datetime
    action: EntryAction
    actor: None | str
    source: EntrySource
    request_id: None | str
    version: int | None
    changes: list[Change]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        number = self.number

        at = self.at.isoformat()

        action = self.action.value

        actor: None | str
        actor = self.actor

        source = self.source.value

        request_id: None | str
        request_id = self.request_id

        version: int | None
        version = self.version

        changes = []
        for changes_item_data in self.changes:
            changes_item = changes_item_data.to_dict()
            changes.append(changes_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "number": number,
                "at": at,
                "action": action,
                "actor": actor,
                "source": source,
                "requestId": request_id,
                "version": version,
                "changes": changes,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.change import Change  # noqa: PLC0415

        d = dict(src_dict)
        number = d.pop("number")

        at = datetime.datetime.fromisoformat(d.pop("at"))

        action = EntryAction(d.pop("action"))

        def _parse_actor(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        actor = _parse_actor(d.pop("actor"))

        source = EntrySource(d.pop("source"))

        def _parse_request_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        request_id = _parse_request_id(d.pop("requestId"))

        def _parse_version(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        version = _parse_version(d.pop("version"))

        changes = []
        _changes = d.pop("changes")
        for changes_item_data in _changes:
            changes_item = Change.from_dict(changes_item_data)

            changes.append(changes_item)

        entry = cls(
            number=number,
            at=at,
            action=action,
            actor=actor,
            source=source,
            request_id=request_id,
            version=version,
            changes=changes,
        )

        entry.additional_properties = d
        return entry

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
