from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.verification_cause_type_1 import VerificationCauseType1
from ..models.verification_cause_type_2_type_1 import VerificationCauseType2Type1
from ..models.verification_cause_type_3_type_1 import VerificationCauseType3Type1
from ..models.verification_outcome import VerificationOutcome

T = TypeVar("T", bound="Verification")


@_attrs_define
class Verification:
    """The result of the verification of the stored API key.

    Attributes:
        outcome (VerificationOutcome): `restricted`: the key works, but lacks a permission. `rejected`: the key does not
            work, or not for this account. `unverified`: the key was not verified or could not be checked.
        at (datetime.datetime | None): The time of the verification; UTC, in whole seconds.
        account_id (None | str): The account of the key.
        missing_permission (None | str): What a `restricted` key lacks: the name in the Dashboard and the identifier, if
            Stripe names them; separated by commas.
        cause (None | VerificationCauseType1 | VerificationCauseType2Type1 | VerificationCauseType3Type1): The reason
            for the outcome.
    """

    outcome: VerificationOutcome
    at: datetime.datetime | None
    account_id: None | str
    missing_permission: None | str
    cause: (
        None
        | VerificationCauseType1
        | VerificationCauseType2Type1
        | VerificationCauseType3Type1
    )
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        outcome = self.outcome.value

        at: None | str
        if isinstance(self.at, datetime.datetime):
            at = self.at.isoformat()
        else:
            at = self.at

        account_id: None | str
        account_id = self.account_id

        missing_permission: None | str
        missing_permission = self.missing_permission

        cause: None | str
        if isinstance(self.cause, VerificationCauseType1):
            cause = self.cause.value
        elif isinstance(self.cause, VerificationCauseType2Type1):
            cause = self.cause.value
        elif isinstance(self.cause, VerificationCauseType3Type1):
            cause = self.cause.value
        else:
            cause = self.cause

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "outcome": outcome,
                "at": at,
                "accountId": account_id,
                "missingPermission": missing_permission,
                "cause": cause,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        outcome = VerificationOutcome(d.pop("outcome"))

        def _parse_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                at_type_0 = datetime.datetime.fromisoformat(data)

                return at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        at = _parse_at(d.pop("at"))

        def _parse_account_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        account_id = _parse_account_id(d.pop("accountId"))

        def _parse_missing_permission(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        missing_permission = _parse_missing_permission(d.pop("missingPermission"))

        def _parse_cause(
            data: object,
        ) -> (
            None
            | VerificationCauseType1
            | VerificationCauseType2Type1
            | VerificationCauseType3Type1
        ):
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                cause_type_1 = VerificationCauseType1(data)

                return cause_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, str):
                    raise TypeError()
                cause_type_2_type_1 = VerificationCauseType2Type1(data)

                return cause_type_2_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, str):
                    raise TypeError()
                cause_type_3_type_1 = VerificationCauseType3Type1(data)

                return cause_type_3_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(
                None
                | VerificationCauseType1
                | VerificationCauseType2Type1
                | VerificationCauseType3Type1,
                data,
            )

        cause = _parse_cause(d.pop("cause"))

        verification = cls(
            outcome=outcome,
            at=at,
            account_id=account_id,
            missing_permission=missing_permission,
            cause=cause,
        )

        verification.additional_properties = d
        return verification

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
