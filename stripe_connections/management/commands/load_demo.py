"""Load the documented example and people to try it with."""

import base64
import hashlib
import hmac
import json
import secrets
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from stripe_connections.models import Status, StripeConnection
from workspaces.models import Membership, Role, Tenant, Workspace

BATCH_SIZE = 500

# Business id of the workspace, of its tenant, of its first connection; then the names of the three.
WORKSPACES = (
    ("ws_demo", "tn_xyz789", "sc_abc123", "Demo", "Example Ltd", "Stripe Connection"),
    ("ws_other", "tn_other", "sc_other1", "Other", "Somebody Else Ltd", "Other Connection"),
)
# Further tenants, so that the lists of the admin look like life.
COMPANIES = (
    "Acorn Books", "Bluebird Travel", "Café Lumière", "Delta Fitness", "Elm Street Records",
    "Fjord Outdoor", "Golden Gate Tickets", "Harbour Yoga", "Iris Optics", "Juniper Foods",
)  # fmt: skip
BRANCHES = ("Shop", "Events", "Members")
CONNECTIONS_PER_BRANCH = 10
PURPOSES = (
    "Web shop", "Tickets", "Subscriptions", "Donations", "Point of sale", "Marketplace",
    "Gift cards", "Invoices", "Old web shop", "Sandbox",
)  # fmt: skip
# Mostly live and complete; the others are what staff are called about.
KEY_PREFIXES = ("sk_live_", "sk_live_", "rk_live_", "sk_live_", "sk_test_", "sk_org_live_", None)
STAFF_PERMISSIONS = (
    "add_stripeconnection", "change_stripeconnection", "view_stripeconnection",
    "replace_secrets",
    "add_tenant", "change_tenant", "view_tenant",
    "add_workspace", "change_workspace", "view_workspace",
    "add_membership", "change_membership", "delete_membership", "view_membership",
    "view_user",
)  # fmt: skip
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
        "Load demo data: the documented example, some hundred other connections, and a manager, "
        "a viewer, an outsider and a staff user. Can be repeated. "
        "Example: load_demo --connections 500"
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
        if options["connections"] < 0:
            raise CommandError("--connections takes a number that is not negative.")
        workspaces = [_workspace(*row) for row in WORKSPACES]
        _add_connections(workspaces[0], options["connections"])
        for number, company in enumerate(COMPANIES):
            _company(number, company)
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


def _company(number: int, name: str) -> None:
    """A tenant with connections in different states; one that is there is left alone."""
    tenant, created = Tenant.objects.get_or_create(
        biz_id=f"tn_demo{number}", defaults={"name": name}
    )
    if not created:
        return
    for branch in BRANCHES:
        workspace = Workspace.objects.create(
            tenant=tenant, biz_id=f"ws_demo{number}{branch}", name=branch
        )
        StripeConnection.objects.bulk_create(
            _varied_connection(workspace, number * len(BRANCHES) + index * 11, index)
            for index in range(CONNECTIONS_PER_BRANCH)
        )


def _varied_connection(workspace: Workspace, seed: int, index: int) -> StripeConnection:
    """One of many: `seed` decides what it lacks, and how old it is."""
    host = workspace.tenant.name.split()[0].encode("ascii", "ignore").decode().lower()
    moment = timezone.now() - timedelta(days=seed * 5 % 400, hours=seed % 24)
    connection = StripeConnection(
        workspace=workspace,
        connection_name=PURPOSES[index],
        stripe_account_id=f"acct_{secrets.token_hex(8)}" if seed % 9 else None,
        partner_endpoint=f"https://hooks.{host}.example.com/stripe" if seed % 5 else None,
        status=Status.INACTIVE if PURPOSES[index].startswith("Old") else Status.ACTIVE,
        created_at=moment - timedelta(days=200),
        updated_at=moment,
    )
    if prefix := KEY_PREFIXES[seed % len(KEY_PREFIXES)]:
        connection.replace_secret("api_key", f"{prefix}{secrets.token_hex(24)}")
        connection.api_key_replaced_at = moment
    if seed % 4:
        connection.replace_secret("webhook_secret", f"whsec_{secrets.token_hex(16)}")
        connection.webhook_secret_replaced_at = moment
    return connection


def _person(username: str, role: Role | None, workspace_id: str | None) -> None:
    user, _ = User.objects.get_or_create(username=username, defaults={"is_staff": role is None})
    # A new hash of the same password would end the sessions and tokens of the old one.
    if not user.check_password(password_of(username)):
        user.set_password(password_of(username))
        user.save(update_fields=["password"])
    if role is None:
        user.user_permissions.add(*Permission.objects.filter(codename__in=STAFF_PERMISSIONS))
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
