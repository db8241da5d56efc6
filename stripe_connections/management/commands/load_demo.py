"""Load the documented example, and demo users to try it with, from `demo.yaml`."""

import json
import secrets
from argparse import ArgumentParser
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from stripe_connections.apps import analyze
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


class Command(BaseCommand):
    """Create the demo data that is missing; existing rows keep their values."""

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
            help="fill ws_demo up to N connections (default: 1)",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        """Create, then print the users with their passwords."""
        if not settings.DEMO_PEOPLE:
            raise CommandError(
                "The passwords of the demo users are printed: this needs DEBUG or DEMO_PEOPLE=true."
            )
        examples = [
            _workspace(row["workspace"], row["tenant"], [row["connection"]])
            for row in DEMO["examples"]
        ]
        _fill(examples[0], options["connections"])
        pairs = product(enumerate(DEMO["companies"]), DEMO["branches"])
        for number, ((tenant, company), branch) in enumerate(pairs):
            rows = DEMO["connections"]
            _workspace((f"ws_demo{number}", branch), (f"tn_demo{tenant}", company), rows, number)
        for username, person in PEOPLE.items():
            _person(username, person["role"], person["workspaceId"])
        analyze()
        summary = _summary(examples)
        if options["format"] == "json":
            self.stdout.write(json.dumps(summary))
            return
        for person in summary["users"]:
            place = f" of {person['workspaceId']}" if person["workspaceId"] else ""
            self.stdout.write("{username:14} {password}  {role}".format(**person) + place)


def _workspace(
    ids: tuple[str, str], tenant_ids: tuple[str, str], rows: list[dict[str, Any]], number: int = 0
) -> Workspace:
    """The workspace with this business ID and name; a new one with the connections of `rows`."""
    biz_id, name = tenant_ids
    tenant, _ = Tenant.objects.get_or_create(biz_id=biz_id, defaults={"name": name})
    biz_id, name = ids
    workspace, is_new = Workspace.objects.get_or_create(
        biz_id=biz_id, defaults={"tenant": tenant, "name": name}
    )
    if is_new:
        StripeConnection.objects.bulk_create(_connection(workspace, row, number) for row in rows)
    return workspace


def _fill(workspace: Workspace, count: int) -> None:
    row = {
        name: value for name, value in DEMO["examples"][0]["connection"].items() if name != "biz_id"
    }
    StripeConnection.objects.bulk_create(
        _connection(workspace, row | {"connection_name": f"Connection {number}"})
        for number in range(workspace.connections.count(), count)
    )


def _connection(workspace: Workspace, row: dict[str, Any], number: int = 0) -> StripeConnection:
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


def _summary(workspaces: list[Workspace]) -> dict[str, list[dict[str, Any]]]:
    return {
        "users": [
            {"username": name, "password": password_of(name), **person}
            for name, person in PEOPLE.items()
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
