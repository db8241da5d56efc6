"""Commands in separate processes: killed while they write, and two that run at once."""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parents[3]
# For a longer trial, set KILL_ROWS=20000.
ROWS = int(os.environ.get("KILL_ROWS", "1000"))
UPDATES = ROWS // 20
IMPORTED = 300
SCENE = "tests.stripe_connections.bulk.scene"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()

pytestmark = pytest.mark.slow


class Scene:
    """Runs commands in separate processes on a separate database."""

    def __init__(self, database_url, log):
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": database_url,
            "ENV_FILE": os.devnull,
            "DEBUG": "true",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "JWT_SIGNING_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "testserver",
            "LOG_LEVEL": "ERROR",
            "SCENE_LOG": str(log),
        }

    def start(self, *command, keys=(NEW, OLD), stdout=subprocess.PIPE, stderr=None):
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment | {"FERNET_KEYS": ",".join(keys)},
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def run(self, *command, **options):
        process = self.start(*command, **options)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def rotate(self, *more, **options):
        arguments = ("--apply", "--batch-size", "20", "--format", "json", *more)
        command = ("manage.py", "rotate_secrets", *arguments)
        return self.start(*command, stderr=subprocess.PIPE, **options)

    def assert_all_is_rotated(self):
        assert self.run("manage.py", "census_secrets", "--format", "json")[0] == 0
        assert self.run("-m", SCENE, "verify", keys=(NEW,)) == (0, "")


@pytest.fixture
def database_url(tmp_path):
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        yield f"sqlite:///{tmp_path / 'scene.sqlite3'}"
        return
    name = f"scene_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def scene(database_url, tmp_path):
    scene = Scene(database_url, tmp_path / "log")
    seeded = scene.run("-m", SCENE, "seed", str(ROWS), keys=(OLD,))
    assert seeded == (0, "")
    return scene


@pytest.fixture
def full_pipe():
    """A full pipe, so that a command blocks before it can print its last line and exit."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.write(writer, bytes(2**24))
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def test_killed_rotation_loses_nothing(scene, full_pipe):
    updating = scene.start("-m", SCENE, "update", str(UPDATES))
    killed = scene.rotate("--share", "1/2", stdout=full_pipe)
    # Kill it after one to seven batches.
    for _ in range(random.randint(1, 7)):
        assert killed.stderr.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    rotating = scene.rotate()
    output, _ = rotating.communicate(timeout=300)

    assert (updating.wait(300), updating.stdout.read()) == (0, "")
    updating.stdout.close()
    assert rotating.returncode == 0
    assert json.loads(output)["failed"] == 0
    scene.assert_all_is_rotated()


def test_two_concurrent_shares_rotate_each_row_once(scene):
    rotating = [scene.rotate("--share", share) for share in ("1/2", "2/2")]
    summaries = [json.loads(process.communicate(timeout=300)[0]) for process in rotating]

    assert [process.returncode for process in rotating] == [0, 0]
    assert [summary["changed"] for summary in summaries] == [ROWS / 2, ROWS / 2]
    assert [summary["unchanged"] + summary["skipped"] for summary in summaries] == [0, 0]
    scene.assert_all_is_rotated()


def test_killed_import_continues_without_creating_a_connection_twice(
    database_url, tmp_path, full_pipe
):
    scene = Scene(database_url, tmp_path / "log")
    assert scene.run("-m", SCENE, "seed", "1", keys=(OLD,)) == (0, "")
    rows = [{"workspaceId": "ws_scene", "connectionName": f"New {n}"} for n in range(IMPORTED)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    command = ("import_connections", str(file), "--apply", "--keep-going", "--format", "json")
    importing = ("manage.py", *command, "--batch-size", "10")

    killed = scene.start(*importing, stdout=full_pipe, stderr=subprocess.PIPE)
    assert killed.stderr.readline() == f"{IMPORTED // 10} of {IMPORTED}\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    code, output = scene.run(*importing)
    _, exported = scene.run("manage.py", "export_connections", "--format", "json")

    counts = json.loads(output)
    assert (code, counts["changed"] + counts["unchanged"]) == (0, IMPORTED)
    assert counts["unchanged"] >= IMPORTED // 10
    names = [json.loads(line)["connectionName"] for line in exported.splitlines()]
    assert sorted(names) == sorted(["Scene", *(row["connectionName"] for row in rows)])
