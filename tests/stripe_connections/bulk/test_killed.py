"""Commands in separate processes: killed while they write, and two that run at once."""

import json
import os
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography.fernet import Fernet
from django.db import connection as database

from tests.service import ROOT, wait_for

# For a longer trial, set KILL_ROWS=20000.
ROWS = int(os.environ.get("KILL_ROWS", "400"))
UPDATES = ROWS // 10
IMPORTED = 300
SCENE = "tests.stripe_connections.bulk.scene"
KILLED = "killed"
SESSIONS = f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{KILLED}'"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()

# The database is created once, and copied for each test.
pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.xdist_group("scene")]


class Scene:
    """Runs commands in separate processes on a separate database."""

    def __init__(self, database_url, log):
        self.database_url = database_url
        self.log = log
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.patient_settings",
            "DATABASE_URL": database_url,
            "ENV_FILE": os.devnull,
            "DEBUG": "true",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "JWT_SIGNING_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "testserver",
            "LOG_LEVEL": "ERROR",
            "SCENE_LOG": str(log),
        }

    def start(self, *command, keys=(NEW, OLD), stdout=subprocess.PIPE, stderr=None, **more):
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment | {"FERNET_KEYS": ",".join(keys)} | more,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def run(self, *command, **options):
        process = self.start(*command, **options)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def kill(self, command, batches, **options):
        """Kill the command after this number of batches; return the lines with its progress."""
        killed = self.start(*command, stderr=subprocess.PIPE, PGAPPNAME=KILLED, **options)
        lines = [killed.stderr.readline() for _ in range(batches)]
        assert all(lines)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        if not self.database_url.startswith("sqlite"):
            # PostgreSQL completes what it has received: it may commit one more batch.
            wait_for(lambda: self.rows(SESSIONS) == [], "The end of the session")
        return lines

    def rows(self, sql):
        """Run a query on the database and return its rows."""
        if self.database_url.startswith("sqlite"):
            with closing(sqlite3.connect(path_of(self.database_url))) as file:
                return file.execute(sql).fetchall()
        with psycopg.connect(self.database_url) as session:
            return session.execute(sql).fetchall()

    def assert_all_is_rotated(self):
        assert self.run("-m", SCENE, "verify", keys=(NEW,)) == (0, "")


def rotation(*more):
    arguments = ("--apply", "--batch-size", "20", "--format", "json", *more)
    return ("manage.py", "rotate_secrets", *arguments)


@contextmanager
def copied(original, directory):
    """A scene on a copy of the database with this URL."""
    name = f"scene_{secrets.token_hex(4)}"
    if original.startswith("sqlite"):
        with closing(sqlite3.connect(path_of(original))) as source:
            copy_file(source, directory / name)
        yield Scene(f"sqlite:///{directory / name}", directory / "log")
        return
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE {urlsplit(original).path[1:]}")
        yield Scene(urlsplit(original)._replace(path=f"/{name}").geturl(), directory / "log")
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def path_of(url):
    return url.removeprefix("sqlite:///")


def copy_file(source, path):
    with closing(sqlite3.connect(path)) as target:
        source.backup(target)


@pytest.fixture(scope="module")
def empty(django_db_setup, django_db_blocker, tmp_path_factory):
    """The URL of the database of the tests, which is empty and has all migrations."""
    name = database.settings_dict["NAME"]
    with django_db_blocker.unblock():
        if database.vendor == "sqlite":
            database.ensure_connection()
            path = tmp_path_factory.mktemp("empty") / "empty.sqlite3"
            copy_file(database.connection, path)
            return f"sqlite:///{path}"
        # PostgreSQL copies no database that has a session.
        database.close()
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="module")
def seeded(empty, tmp_path_factory):
    """A database with ROWS connections under the old key, which the tests copy."""
    with copied(empty, tmp_path_factory.mktemp("scene")) as scene:
        assert scene.run("-m", SCENE, "seed", str(ROWS), keys=(OLD,)) == (0, "")
        yield scene


@pytest.fixture
def scene(seeded, tmp_path):
    shutil.copy(seeded.log, tmp_path / "log")
    with copied(seeded.database_url, tmp_path) as scene:
        yield scene


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
    scene.kill(rotation("--share", "1/2"), random.randint(1, 7), stdout=full_pipe)
    code, output = scene.run(*rotation(), stderr=subprocess.PIPE)

    assert (updating.wait(300), updating.stdout.read()) == (0, "")
    updating.stdout.close()
    assert (code, json.loads(output)["failed"]) == (0, 0)
    scene.assert_all_is_rotated()


@pytest.mark.only_on("sqlite", reason="test_rotate_secrets.py rotates twice at once on PostgreSQL")
def test_two_concurrent_shares_rotate_each_row_once(scene):
    shares = [rotation("--share", share) for share in ("1/2", "2/2")]
    rotating = [scene.start(*share, stderr=subprocess.PIPE) for share in shares]
    summaries = [json.loads(process.communicate(timeout=300)[0]) for process in rotating]

    assert [process.returncode for process in rotating] == [0, 0]
    assert [summary["changed"] for summary in summaries] == [ROWS / 2, ROWS / 2]
    assert [summary["unchanged"] + summary["skipped"] for summary in summaries] == [0, 0]
    scene.assert_all_is_rotated()


def import_of(path, rows, *options):
    """Write the rows into a file, and return the command that imports it."""
    path.write_text("\n".join(json.dumps({"workspaceId": "ws_scene"} | row) for row in rows))
    arguments = (str(path), "--apply", "--keep-going", "--format", "json", *options)
    return ("manage.py", "import_connections", *arguments)


def test_killed_import_continues_without_creating_a_connection_twice(scene, full_pipe, tmp_path):
    rows = [{"connectionName": f"New {n}"} for n in range(IMPORTED)]
    importing = import_of(tmp_path / "rows.jsonl", rows, "--batch-size", "10")

    assert scene.kill(importing, 1, stdout=full_pipe) == [f"{IMPORTED // 10} of {IMPORTED}\n"]
    code, output = scene.run(*importing)

    counts = json.loads(output)
    assert (code, counts["changed"] + counts["unchanged"]) == (0, IMPORTED)
    assert counts["unchanged"] >= IMPORTED // 10
    names = scene.rows("SELECT connection_name FROM stripe_connections_stripeconnection")
    assert sorted(names) == sorted([("Scene",)] * ROWS + [(row["connectionName"],) for row in rows])


FINGERPRINTS = "SELECT biz_id, api_key_fingerprint FROM stripe_connections_stripeconnection"
RUN = "SELECT DISTINCT cid FROM auditlog_logentry WHERE cid LIKE 'import_connections-%'"


@pytest.mark.only_on("sqlite", reason="the other tests kill a command on PostgreSQL")
def test_killed_import_can_be_undone(scene, full_pipe, tmp_path):
    """The audit has the ID of the run."""
    before = dict(scene.rows(FINGERPRINTS))
    rows = [{"bizId": f"sc_{n}", "apiKey": "sk_test_" + secrets.token_hex(24)} for n in range(200)]
    importing = import_of(tmp_path / "rows.jsonl", rows, "--batch-size", "20")
    scene.kill(importing, 3, keys=(OLD,), stdout=full_pipe)
    replaced = dict(scene.rows(FINGERPRINTS)).items() - before.items()
    [(run,)] = scene.rows(RUN)

    code, output = scene.run(
        "manage.py", "restore_secret", "--run", run, "--apply", "--format", "json", keys=(OLD,)
    )

    assert (code, json.loads(output)["changed"]) == (0, len(replaced))
    assert 0 < len(replaced) <= len(rows)
    assert dict(scene.rows(FINGERPRINTS)) == before
