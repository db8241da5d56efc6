"""Load the documented example and people to try it with."""

import base64
import hashlib
import hmac
import json
import secrets
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from stripe_connections.models import StripeConnection
from workspaces.models import Membership, Role, Tenant, Workspace

BATCH_SIZE = 500

# Business id of the workspace, of its tenant, of its first connection; then the names of the three.
WORKSPACES = (
    ("ws_demo", "tn_xyz789", "sc_abc123", "Demo", "Example Ltd", "Stripe Connection"),
    ("ws_other", "tn_other", "sc_other1", "Other", "Somebody Else Ltd", "Other Connection"),
)
# User name, role, workspace. Staff use the admin and belong to no workspace.
PEOPLE = (
    ("demo-manager", Role.MANAGER, "ws_demo"),
    ("demo-viewer", Role.VIEWER, "ws_demo"),
    ("demo-outsider", Role.MANAGER, "ws_other"),
    ("demo-staff", None, None),
)


def password_of(username: str) -> str:
    """The password of a demo person: derived from SECRET_KEY, so the same at every run."""
    digest = hmac.new(settings.SECRET_KEY.encode(), f"demo:{username}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest.digest())[:20].decode()


class Command(BaseCommand):
    """Create what is missing of the demo data; what is there keeps its values."""

    help = (
        "Load demo data: the documented example, a second tenant, and a manager, a viewer, an "
        "outsider and a staff user. Can be repeated. Example: load_demo --connections 500"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--connections",
            type=int,
            default=1,
            metavar="N",
            help="make ws_demo hold at least N connections (default: 1)",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument("--force", action="store_true", help="also without DEBUG")

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        """Create, then print the people with their passwords."""
        if not (settings.DEBUG or options["force"]):
            raise CommandError(
                "Demo people have passwords that are printed, so this needs DEBUG or --force."
            )
        workspaces = [_workspace(*row) for row in WORKSPACES]
        _add_connections(workspaces[0], options["connections"])
        for username, role, workspace_id in PEOPLE:
            _person(username, role, workspace_id)
        if options["format"] == "json":
            self.stdout.write(json.dumps(_summary(workspaces)))
        else:
            for person in _summary(workspaces)["users"]:
                self.stdout.write(
                    "{username:14} {password}  {role} of {workspaceId}".format(**person)
                    if person["workspaceId"]
                    else "{username:14} {password}  {role}".format(**person)
                )


def _workspace(  # noqa: PLR0913, PLR0917
    biz_id: str, tenant_id: str, connection_id: str, name: str, tenant_name: str, title: str
) -> Workspace:
    tenant, _ = Tenant.objects.get_or_create(biz_id=tenant_id, defaults={"name": tenant_name})
    workspace, _ = Workspace.objects.get_or_create(
        biz_id=biz_id, defaults={"tenant": tenant, "name": name}
    )
    if not StripeConnection.objects.filter(biz_id=connection_id).exists():
        moment = datetime(2026, 3, 21, tzinfo=UTC)
        connection = _connection(workspace, title)
        connection.biz_id = connection_id
        connection.connection_description = "Takes the payments of the shop"
        connection.created_at = connection.updated_at = moment
        connection.save()
    return workspace


def _connection(workspace: Workspace, name: str) -> StripeConnection:
    connection = StripeConnection(
        workspace=workspace,
        connection_name=name,
        stripe_account_id="acct_1234567890",
        partner_endpoint="https://partner.example.com/webhook",
    )
    connection.replace_secret("api_key", f"sk_test_{secrets.token_hex(24)}")
    connection.replace_secret("webhook_secret", f"whsec_{secrets.token_hex(16)}")
    return connection


def _add_connections(workspace: Workspace, wanted: int) -> None:
    existing = workspace.connections.count()
    for start in range(existing, wanted, BATCH_SIZE):
        StripeConnection.objects.bulk_create(
            _connection(workspace, f"Connection {number}")
            for number in range(start + 1, min(start + BATCH_SIZE, wanted) + 1)
        )


def _person(username: str, role: Role | None, workspace_id: str | None) -> None:
    user, _ = User.objects.get_or_create(username=username, defaults={"is_staff": role is None})
    # A new hash of the same password would end the sessions and tokens of the old one.
    if not user.check_password(password_of(username)):
        user.set_password(password_of(username))
        user.save(update_fields=["password"])
    if role and workspace_id:
        Membership.objects.get_or_create(
            user=user,
            workspace=Workspace.objects.get(biz_id=workspace_id),
            defaults={"role": role},
        )


def _summary(workspaces: list[Workspace]) -> dict[str, list[dict[str, Any]]]:
    return {
        "users": [
            {
                "username": username,
                "password": password_of(username),
                "role": role.value if role else "staff",
                "workspaceId": workspace_id,
            }
            for username, role, workspace_id in PEOPLE
        ],
        "workspaces": [
            {
                "workspaceId": workspace.biz_id,
                "tenantBizId": workspace.tenant.biz_id,
                "connectionBizIds": list(
                    workspace.connections.order_by("pk").values_list("biz_id", flat=True)
                ),
            }
            for workspace in workspaces
        ],
    }
