from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.workspace_permissions_item import WorkspacePermissionsItem
from ..models.workspace_role import WorkspaceRole

T = TypeVar("T", bound="Workspace")


@_attrs_define
class Workspace:
    """
    Attributes:
        biz_id (str): The `workspaceId` in the paths of the other calls.
        name (str):
        tenant_biz_id (str):
        tenant_name (str):
        role (WorkspaceRole): Later versions may add roles.
        permissions (list[WorkspacePermissionsItem]): What the caller may do. Later versions may add permissions.
    """

    biz_id: str
    name: str
    tenant_biz_id: str
    tenant_name: str
    role: WorkspaceRole
    permissions: list[WorkspacePermissionsItem]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        biz_id = self.biz_id

        name = self.name

        tenant_biz_id = self.tenant_biz_id

        tenant_name = self.tenant_name

        role = self.role.value

        permissions = []
        for permissions_item_data in self.permissions:
            permissions_item = permissions_item_data.value
            permissions.append(permissions_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "bizId": biz_id,
                "name": name,
                "tenantBizId": tenant_biz_id,
                "tenantName": tenant_name,
                "role": role,
                "permissions": permissions,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        biz_id = d.pop("bizId")

        name = d.pop("name")

        tenant_biz_id = d.pop("tenantBizId")

        tenant_name = d.pop("tenantName")

        role = WorkspaceRole(d.pop("role"))

        permissions = []
        _permissions = d.pop("permissions")
        for permissions_item_data in _permissions:
            permissions_item = WorkspacePermissionsItem(permissions_item_data)

            permissions.append(permissions_item)

        workspace = cls(
            biz_id=biz_id,
            name=name,
            tenant_biz_id=tenant_biz_id,
            tenant_name=tenant_name,
            role=role,
            permissions=permissions,
        )

        workspace.additional_properties = d
        return workspace

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
