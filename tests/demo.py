"""The demo data with more connections, as benchmarks and tests need it."""

import json
from io import StringIO
from typing import Any

from django.core.management import call_command

from stripe_connections.apps import analyze
from stripe_connections.management.commands.load_demo import (
    DEMO,
    PEOPLE,
    demo_connection,
    password_of,
)
from stripe_connections.models import StripeConnection
from workspaces.models import Workspace


def load(connections: int = 1) -> dict[str, Any]:
    """Load it, fill ws_demo up to this number, and return the users and the first workspaces."""
    call_command("load_demo", stdout=StringIO())
    ids = [row["workspace"][0] for row in DEMO["examples"]]
    workspaces = Workspace.objects.select_related("tenant").in_bulk(ids, field_name="biz_id")
    _fill(workspaces["ws_demo"], connections)
    return {
        "users": [
            {"username": name, "password": password_of(name), **person}
            for name, person in PEOPLE.items()
        ],
        "workspaces": [_summary(workspaces[biz_id]) for biz_id in ids],
    }


def dump(connections: int) -> None:
    """Load it, and print the users and workspaces as JSON."""
    print(json.dumps(load(connections)))  # noqa: T201 - for another program


def _fill(workspace: Workspace, count: int) -> None:
    row = {n: v for n, v in DEMO["examples"][0]["connection"].items() if n != "biz_id"}
    StripeConnection.objects.bulk_create(
        demo_connection(workspace, row | {"connection_name": f"Connection {number}"})
        for number in range(workspace.connections.count(), count)
    )
    analyze()


def _summary(workspace: Workspace) -> dict[str, Any]:
    connections = workspace.connections.order_by("pk").values_list("biz_id", flat=True)
    return {
        "workspaceId": workspace.biz_id,
        "tenantBizId": workspace.tenant.biz_id,
        "connectionBizIds": list(connections),
    }
