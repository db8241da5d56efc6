"""Load demo data: the documented example, some hundred other connections, and demo users.

The users are a manager, a viewer, an outsider and a staff user. Can be repeated: creates what is
missing, and existing rows keep their values.

Example:
  manage.py load_demo
"""

import secrets
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management.base import CommandError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from stripe_connections.apps import analyze
from stripe_connections.bulk.command import PlainCommand
from stripe_connections.models import SECRET_FIELDS, StripeConnection
from workspaces.models import Membership, Tenant, Workspace

DEMO: dict[str, Any] = yaml.safe_load(Path(__file__).parents[2].joinpath("demo.yaml").read_bytes())
# User name to role and workspace.
PEOPLE: dict[str, dict[str, Any]] = DEMO["people"]
# The admin refuses some actions, such as deleting a connection, even with the permission.
STAFF_PERMISSIONS = Q(content_type__app_label__in=("stripe_connections", "workspaces")) | Q(
    codename="view_user"
)


def password_of(username: str) -> str:
    """The password of a demo user: derived from SECRET_KEY, so it is the same in every run."""
    return salted_hmac(__name__, username, algorithm="sha256").hexdigest()[:24]


class Command(PlainCommand):
    @transaction.atomic
    def handle(self, **options: Any) -> None:
        """Create, then print the users with their passwords."""
        if not settings.DEMO_PEOPLE:
            raise CommandError(
                "The passwords of the demo users are printed: this needs DEBUG or DEMO_PEOPLE=true."
            )
        for row in DEMO["examples"]:
            _workspace(row["workspace"], row["tenant"], [row["connection"]])
        pairs = product(enumerate(DEMO["companies"]), DEMO["branches"])
        for number, ((tenant, company), branch) in enumerate(pairs):
            rows = DEMO["connections"]
            _workspace((f"ws_demo{number}", branch), (f"tn_demo{tenant}", company), rows, number)
        for username, person in PEOPLE.items():
            role, workspace_id = person["role"], person["workspaceId"]
            _person(username, role, workspace_id)
            place = f" of {workspace_id}" if workspace_id else ""
            self.stdout.write(f"{username:14} {password_of(username)}  {role}{place}")
        analyze()


def _workspace(
    ids: tuple[str, str], tenant_ids: tuple[str, str], rows: list[dict[str, Any]], number: int = 0
) -> None:
    """Create the workspace with this business ID and name, and the connections of `rows`."""
    biz_id, name = tenant_ids
    tenant, _ = Tenant.objects.get_or_create(biz_id=biz_id, defaults={"name": name})
    biz_id, name = ids
    workspace, is_new = Workspace.objects.get_or_create(
        biz_id=biz_id, defaults={"tenant": tenant, "name": name}
    )
    if is_new:
        StripeConnection.objects.bulk_create(
            demo_connection(workspace, row, number) for row in rows
        )


def demo_connection(workspace: Workspace, row: dict[str, Any], number: int = 0) -> StripeConnection:
    """An unsaved connection with the values of `row`."""
    updated_at = timezone.now() - timedelta(days=row.get("days", 0) + number, hours=number)
    values = {"updated_at": updated_at, "created_at": updated_at - timedelta(days=200)} | {
        name: value.format(number=number) if isinstance(value, str) else value
        for name, value in row.items()
        if name not in {*SECRET_FIELDS, "days"}
    }
    connection = StripeConnection(workspace=workspace, **values)
    if "verification" in row:
        connection.verification_at = connection.updated_at
    for name in SECRET_FIELDS:
        if prefix := row.get(name):
            connection.replace_secret(name, prefix + secrets.token_hex(24))
            setattr(connection, f"{name}_replaced_at", connection.updated_at)
    return connection


def _person(username: str, role: str, workspace_id: str | None) -> None:
    user, _ = User.objects.get_or_create(username=username, defaults={"is_staff": not workspace_id})
    # A new hash of the same password would invalidate the sessions and tokens of the old one.
    if not (user.password and user.check_password(password_of(username))):
        user.set_password(password_of(username))
        user.save(update_fields=["password"])
    if workspace_id:
        workspace = Workspace.objects.get(biz_id=workspace_id)
        Membership.objects.get_or_create(user=user, workspace=workspace, defaults={"role": role})
    else:
        user.user_permissions.add(*Permission.objects.filter(STAFF_PERMISSIONS))
