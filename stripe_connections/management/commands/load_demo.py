"""Load the documented example and people to try it with."""

import base64
import hashlib
import hmac
import json
import secrets
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from stripe_connections.apps import analyze
from stripe_connections.models import Status, StripeConnection
from stripe_connections.stripe_api.replies import Cause, Reply, Verification
from workspaces.models import Membership, Role, Tenant, Workspace

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
PURPOSES = (
    "Web shop", "Tickets", "Subscriptions", "Donations", "Point of sale", "Marketplace",
    "Gift cards", "Invoices", "Old web shop", "Sandbox",
)  # fmt: skip
# Mostly live and complete; the others are what staff are called about.
KEY_PREFIXES = ("sk_live_", "sk_live_", "rk_live_", "sk_live_", "sk_test_", "sk_org_live_", None)
# What a restricted key mostly is not allowed.
PERMISSION = "rak_accounts_kyc_basic_read"
DOCUMENTED_VALUES = {
    "stripe_account_id": "acct_1234567890",
    "partner_endpoint": "https://partner.example.com/webhook",
}
DOCUMENTED_TEXT: dict[str, Any] = {
    "connection_description": "Takes the payments of the shop",
    "created_at": datetime(2026, 3, 21, tzinfo=UTC),
    "updated_at": datetime(2026, 3, 21, tzinfo=UTC),
}
# What the admin refuses to everybody, such as deleting a connection, it refuses to them, too.
STAFF_PERMISSIONS = Q(content_type__app_label__in=("stripe_connections", "workspaces")) | Q(
    codename="view_user"
)
STAFF = "staff"
# User name, role, workspace. Staff use the admin and belong to no workspace.
PEOPLE = (
    ("demo-manager", Role.MANAGER, "ws_demo"),
    ("demo-viewer", Role.VIEWER, "ws_demo"),
    ("demo-outsider", Role.MANAGER, "ws_other"),
    ("demo-staff", STAFF, None),
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

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        """Create, then print the people with their passwords."""
        if not settings.DEMO_PEOPLE:
            raise CommandError(
                "Demo people have passwords that are printed: this needs DEBUG or DEMO_PEOPLE=true."
            )
        workspaces = [_example(*row) for row in WORKSPACES]
        StripeConnection.objects.bulk_create(
            _connection(workspaces[0], f"Connection {number}")
            for number in range(workspaces[0].connections.count(), options["connections"])
        )
        for number, (company, branch) in enumerate(product(COMPANIES, BRANCHES)):
            tenant_id = f"tn_demo{COMPANIES.index(company)}"
            workspace, is_new = _workspace(f"ws_demo{number}", tenant_id, branch, company)
            if is_new:
                StripeConnection.objects.bulk_create(
                    _varied_connection(workspace, purpose, number + index * 11)
                    for index, purpose in enumerate(PURPOSES)
                )
        for username, role, workspace_id in PEOPLE:
            _person(username, role, workspace_id)
        analyze()
        summary = _summary(workspaces)
        if options["format"] == "json":
            self.stdout.write(json.dumps(summary))
            return
        for person in summary["users"]:
            place = f" of {person['workspaceId']}" if person["workspaceId"] else ""
            self.stdout.write("{username:14} {password}  {role}".format(**person) + place)


def _example(*names: str) -> Workspace:
    biz_id, tenant_id, connection_id, name, tenant_name, title = names
    workspace, _ = _workspace(biz_id, tenant_id, name, tenant_name)
    if not StripeConnection.objects.filter(biz_id=connection_id).exists():
        _connection(workspace, title, biz_id=connection_id, **DOCUMENTED_TEXT).save()
    return workspace


def _workspace(biz_id: str, tenant_id: str, name: str, tenant_name: str) -> tuple[Workspace, bool]:
    """A workspace, and whether it is new; what is there keeps its names."""
    tenant, _ = Tenant.objects.get_or_create(biz_id=tenant_id, defaults={"name": tenant_name})
    defaults = {"tenant": tenant, "name": name}
    return Workspace.objects.get_or_create(biz_id=biz_id, defaults=defaults)


def _connection(
    workspace: Workspace,
    name: str,
    key_prefix: str | None = "sk_test_",
    webhook_prefix: str | None = "whsec_",
    **fields: Any,
) -> StripeConnection:
    """A connection with a secret for each prefix, and the documented values."""
    values = DOCUMENTED_VALUES | fields
    connection = StripeConnection(workspace=workspace, connection_name=name, **values)
    for column, prefix in (("api_key", key_prefix), ("webhook_secret", webhook_prefix)):
        if prefix:
            connection.replace_secret(column, prefix + secrets.token_hex(24))
            setattr(connection, f"{column}_replaced_at", connection.updated_at)
    return connection


def _varied_connection(workspace: Workspace, name: str, seed: int) -> StripeConnection:
    """One of many: `seed` decides what it lacks, and how old it is."""
    host = workspace.tenant.name.split()[0].encode("ascii", "ignore").decode().lower()
    moment = timezone.now() - timedelta(days=seed * 5 % 400, hours=seed % 24)
    connection = _connection(
        workspace,
        name,
        KEY_PREFIXES[seed % len(KEY_PREFIXES)],
        "whsec_" if seed % 4 else None,
        stripe_account_id=f"acct_{secrets.token_hex(8)}" if seed % 9 else None,
        partner_endpoint=f"https://hooks.{host}.example.com/stripe" if seed % 5 else None,
        status=Status.INACTIVE if name.startswith("Old") else Status.ACTIVE,
        created_at=moment - timedelta(days=200),
        updated_at=moment,
    )
    if connection.api_key_hint and connection.stripe_account_id and seed % 6:
        connection.keep_outcome(_outcome(connection, seed))
    return connection


def _outcome(connection: StripeConnection, seed: int) -> Reply:
    """As if the key had been verified when it was new."""
    at = connection.updated_at
    if (connection.api_key_hint or "").startswith("rk_"):
        return Reply(
            Verification.RESTRICTED.value,
            at,
            missing_permission=PERMISSION,
            cause=Cause.MISSING_PERMISSION.value,
        )
    if seed % 13 == 0:
        return Reply(Verification.REJECTED.value, at, cause=Cause.NOT_ACCEPTED.value)
    return Reply(Verification.VERIFIED.value, at, connection.stripe_account_id)


def _person(username: str, role: str, workspace_id: str | None) -> None:
    user, _ = User.objects.get_or_create(username=username, defaults={"is_staff": role == STAFF})
    # A new hash of the same password would end the sessions and tokens of the old one.
    if not user.check_password(password_of(username)):
        user.set_password(password_of(username))
        user.save(update_fields=["password"])
    if workspace_id:
        workspace = Workspace.objects.get(biz_id=workspace_id)
        Membership.objects.get_or_create(user=user, workspace=workspace, defaults={"role": role})
    else:
        user.user_permissions.add(*Permission.objects.filter(STAFF_PERMISSIONS))


def _summary(workspaces: list[Workspace]) -> dict[str, list[dict[str, Any]]]:
    return {
        "users": [
            {
                "username": username,
                "password": password_of(username),
                "role": role,
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
