from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.extra_mode_type_1 import ExtraModeType1
from ..models.extra_mode_type_2_type_1 import ExtraModeType2Type1
from ..models.extra_mode_type_3_type_1 import ExtraModeType3Type1

if TYPE_CHECKING:
    from ..models.verification import Verification


T = TypeVar("T", bound="Extra")


@_attrs_define
class Extra:
    """What a settings page also shows. Secrets are shown as hints.

    Attributes:
        version (int): The number in the `ETag`.
        mode (ExtraModeType1 | ExtraModeType2Type1 | ExtraModeType3Type1 | None): Whether the API key moves real money,
            according to its prefix.
        api_key_hint (None | str): Null if no API key is stored.
        webhook_secret_hint (None | str):
        has_webhook_secret (bool):
        previous_webhook_secret_until (datetime.datetime | None): Until when the replaced webhook secret is also
            accepted for events; UTC, in whole seconds.
        verification (Verification): The result of the verification of the stored API key.
    """

    version: int
    mode: ExtraModeType1 | ExtraModeType2Type1 | ExtraModeType3Type1 | None
    api_key_hint: None | str
    webhook_secret_hint: None | str
    has_webhook_secret: bool
    previous_webhook_secret_until: datetime.datetime | None
    verification: Verification
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        version = self.version

        mode: None | str
        if isinstance(self.mode, ExtraModeType1):
            mode = self.mode.value
        elif isinstance(self.mode, ExtraModeType2Type1):
            mode = self.mode.value
        elif isinstance(self.mode, ExtraModeType3Type1):
            mode = self.mode.value
        else:
            mode = self.mode

        api_key_hint: None | str
        api_key_hint = self.api_key_hint

        webhook_secret_hint: None | str
        webhook_secret_hint = self.webhook_secret_hint

        has_webhook_secret = self.has_webhook_secret

        previous_webhook_secret_until: None | str
        if isinstance(self.previous_webhook_secret_until, datetime.datetime):
            previous_webhook_secret_until = (
                self.previous_webhook_secret_until.isoformat()
            )
        else:
            previous_webhook_secret_until = self.previous_webhook_secret_until

        verification = self.verification.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "version": version,
                "mode": mode,
                "apiKeyHint": api_key_hint,
                "webhookSecretHint": webhook_secret_hint,
                "hasWebhookSecret": has_webhook_secret,
                "previousWebhookSecretUntil": previous_webhook_secret_until,
                "verification": verification,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.verification import Verification  # noqa: PLC0415

        d = dict(src_dict)
        version = d.pop("version")

        def _parse_mode(
            data: object,
        ) -> ExtraModeType1 | ExtraModeType2Type1 | ExtraModeType3Type1 | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                mode_type_1 = ExtraModeType1(data)

                return mode_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, str):
                    raise TypeError()
                mode_type_2_type_1 = ExtraModeType2Type1(data)

                return mode_type_2_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, str):
                    raise TypeError()
                mode_type_3_type_1 = ExtraModeType3Type1(data)

                return mode_type_3_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(
                ExtraModeType1 | ExtraModeType2Type1 | ExtraModeType3Type1 | None, data
            )

        mode = _parse_mode(d.pop("mode"))

        def _parse_api_key_hint(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        api_key_hint = _parse_api_key_hint(d.pop("apiKeyHint"))

        def _parse_webhook_secret_hint(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        webhook_secret_hint = _parse_webhook_secret_hint(d.pop("webhookSecretHint"))

        has_webhook_secret = d.pop("hasWebhookSecret")

        def _parse_previous_webhook_secret_until(
            data: object,
        ) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                previous_webhook_secret_until_type_0 = datetime.datetime.fromisoformat(
                    data
                )

                return previous_webhook_secret_until_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        previous_webhook_secret_until = _parse_previous_webhook_secret_until(
            d.pop("previousWebhookSecretUntil")
        )

        verification = Verification.from_dict(d.pop("verification"))

        extra = cls(
            version=version,
            mode=mode,
            api_key_hint=api_key_hint,
            webhook_secret_hint=webhook_secret_hint,
            has_webhook_secret=has_webhook_secret,
            previous_webhook_secret_until=previous_webhook_secret_until,
            verification=verification,
        )

        extra.additional_properties = d
        return extra

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
