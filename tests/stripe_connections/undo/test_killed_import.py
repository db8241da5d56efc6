"""The changes of a killed import can be undone with the ID of its run from the audit."""

import json
import secrets
import signal
import sqlite3
import subprocess

import psycopg
import pytest

from tests.stripe_connections.bulk.test_killed_rotation import (  # noqa: F401 - fixtures
    OLD,
    SCENE,
    database_url,
    full_pipe,
    scene,
)

ROWS = 200
pytestmark = pytest.mark.slow


def query(scene, sql):  # noqa: F811 - the fixture's value
    """Run a statement on the scene's database and return the rows."""
    url = scene.environment["DATABASE_URL"]
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
            return database.execute(sql).fetchall()
    with psycopg.connect(url) as database:
        return database.execute(sql).fetchall()


FINGERPRINTS = "SELECT biz_id, api_key_fingerprint FROM stripe_connections_stripeconnection"
RUN = "SELECT DISTINCT cid FROM auditlog_logentry WHERE cid LIKE 'import_connections-%'"


def test_killed_import_can_be_undone(scene, full_pipe, tmp_path):  # noqa: F811 - fixtures
    before = dict(query(scene, FINGERPRINTS))
    rows = [
        {
            "workspaceId": "ws_scene",
            "bizId": f"sc_{n}",
            "apiKey": "sk_test_" + secrets.token_hex(24),
        }
        for n in range(ROWS)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    killed = scene.start(
        "manage.py", "import_connections", str(tmp_path / "rows.jsonl"), "--keep-going",
        "--apply", "--batch-size", "20", "--format", "json",
        keys=(OLD,), stdout=full_pipe, stderr=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(3):
        assert killed.stderr.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    replaced = dict(query(scene, FINGERPRINTS)).items() - before.items()
    [(run,)] = query(scene, RUN)

    code, output = scene.run(
        "manage.py", "restore_secret", "--run", run, "--apply", "--format", "json", keys=(OLD,)
    )

    assert (code, json.loads(output)["changed"]) == (0, len(replaced))
    assert 0 < len(replaced) <= ROWS
    assert dict(query(scene, FINGERPRINTS)) == before
