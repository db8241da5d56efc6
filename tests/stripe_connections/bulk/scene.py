"""A program that creates connections, updates them with the API, and checks the result.

Run it with `python -m tests.stripe_connections.bulk.scene`:

    seed N      in an empty database, create N connections with the first key of FERNET_KEYS
    update N    make N updates with the API
    verify      print every mistake that is found

`seed` and `update` append a line for each written secret to the file in SCENE_LOG: business ID,
field, and digest of the secret.
"""

# Django is set up when the program runs, and it prints.
# ruff: noqa: T201

import hashlib
import io
import os
import random
import secrets
import sys
from collections import Counter
from pathlib import Path

import django

LOG = Path(os.environ["SCENE_LOG"])


def digest(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


def seed(count):
    from stripe_connections.models import SECRET_FIELDS, StripeConnection
    from tests.conftest import plain
    from workspaces.models import Tenant, Workspace

    tenant = Tenant.objects.create(biz_id="tn_scene", name="Scene")
    workspace = Workspace.objects.create(biz_id="ws_scene", tenant=tenant, name="Scene")
    connections = []
    for number in range(count):
        connection = StripeConnection(
            workspace=workspace, biz_id=f"sc_{number}", connection_name="Scene"
        )
        connection.replace_secret("api_key", f"sk_test_{secrets.token_hex(24)}")
        connection.replace_secret("webhook_secret", f"whsec_{secrets.token_hex(16)}")
        connections.append(connection)
    StripeConnection.objects.bulk_create(connections, batch_size=500)
    with LOG.open("a") as log:
        for connection in connections:
            for column in SECRET_FIELDS:
                print(connection.biz_id, column, digest(plain(connection, column)), file=log)


def update(count):
    from django.contrib.auth.models import User

    from stripe_connections.models import StripeConnection
    from tests.conftest import ApiClient
    from workspaces.models import Membership, Workspace

    user = User.objects.create_user("manager")
    workspace = Workspace.objects.get()
    Membership.objects.create(user=user, workspace=workspace, role="manager")
    client = ApiClient(user)
    rows = StripeConnection.objects.count()
    names = {"apiKey": ("api_key", "sk_test_"), "webhookSecret": ("webhook_secret", "whsec_")}
    with LOG.open("a") as log:
        for _ in range(count):
            biz_id = f"sc_{random.randrange(rows)}"
            name, (column, prefix) = random.choice(list(names.items()))
            secret = prefix + secrets.token_hex(20)
            body = {"connectionBizId": biz_id, name: secret, "connectionName": "Updated"}
            response = client.update(body, "ws_scene")
            assert response.status_code in {200, 503}, response.content
            if response.status_code == 200:
                print(biz_id, column, digest(secret), file=log, flush=True)


def verify():
    from auditlog.models import LogEntry
    from django.core.management import call_command

    from stripe_connections.models import SECRET_FIELDS, StripeConnection
    from stripe_connections.secrets.keyring import keyring
    from tests.conftest import plain

    # Fails if a secret is under another key, or unreadable.
    call_command("census_secrets", stdout=io.StringIO())
    lines = [line.split() for line in LOG.read_text().splitlines()]
    last = {(biz_id, column): wanted for biz_id, column, wanted in lines}
    connections = StripeConnection.objects.with_secrets()
    rotated = set()
    for entry in LogEntry.objects.filter(additional_data__source="command"):
        rotated.update(entry.additional_data["object_ids"])
    updated = Counter(
        LogEntry.objects.filter(additional_data__source="api").values_list("object_repr", flat=True)
    )
    for connection in connections:
        for column in SECRET_FIELDS:
            secret = plain(connection, column)
            if digest(secret) != last[connection.biz_id, column]:
                print(f"{connection.biz_id} {column} is not the last written secret")
            if getattr(connection, column).position(connection) != 0:
                print(f"{connection.biz_id} {column} is not under the first key")
            if getattr(connection, f"{column}_fingerprint") != keyring().fingerprint(secret):
                print(f"{connection.biz_id} {column} has a wrong fingerprint")
        written = sum(line[0] == connection.biz_id for line in lines[2 * len(connections) :])
        if updated[connection.biz_id] != written or connection.version != written + 1:
            print(f"{connection.biz_id} does not have one record and version for each update")
        if connection.pk not in rotated and not written:
            print(f"{connection.biz_id} was rotated without a record")


if __name__ == "__main__":
    django.setup()
    actions = {"seed": seed, "update": update, "verify": verify}
    actions[sys.argv[1]](*map(int, sys.argv[2:]))
