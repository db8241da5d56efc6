"""`serve` reports in one line why it cannot start."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from stripe_connections.management.commands.serve import names_of, url_of
from tests.production import PRODUCTION
from tests.service import ROOT, free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def serve(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", str(free_port())],
        check=False,
        env={"PATH": os.environ["PATH"]} | PRODUCTION | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_port_in_use_is_reported(taken_port):
    with pytest.raises(CommandError, match=f"port {taken_port}: .*Address already in use") as error:
        call_command("serve", port=str(taken_port))

    assert "PORT=" in str(error.value)


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999", "http", "", "1.5", "٣"])
def test_invalid_port_is_refused(port):
    with pytest.raises(CommandError, match="from 1 to 65535"):
        call_command("serve", port=port)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("connections.example", "http://connections.example:8000"),
    ],
)
def test_printed_address_can_be_called(host, url):
    assert url_of(host, 8000) == url


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("0.0.0.0", "*"),
        ("::", "*"),
        ("192.0.2.7", ".localhost,127.0.0.1,[::1],192.0.2.7"),
        ("2001:db8::7", ".localhost,127.0.0.1,[::1],[2001:db8::7]"),
    ],
)
def test_allowed_hosts_contain_the_given_address(host, names):
    assert names_of(host) == names


def test_demo_is_refused_without_debug(settings):
    with pytest.raises(CommandError, match="--demo needs DEBUG"):
        call_command("serve", demo=True)

    assert settings.DEBUG is False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "service.example.com"])
def test_public_address_without_a_proxy_is_refused(host):
    with pytest.raises(CommandError, match=r"without a proxy: .* set NUM_PROXIES"):
        call_command("serve", host=host, port="8000")


@pytest.mark.parametrize("change", [{"DEBUG": True}, {"NUM_PROXIES": 1}], ids=str)
def test_public_address_is_accepted_with_debug_or_a_proxy(change, settings, taken_port):
    settings.DEBUG = change.get("DEBUG", False)
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | change

    with pytest.raises(CommandError, match=f"port {taken_port}: .*Address already in use.*--port"):
        call_command("serve", host="0.0.0.0", port=str(taken_port))


@pytest.mark.parametrize("host", ["nothing.invalid", "192.0.2.1", "a" * 64 + ".example"])
def test_address_of_another_machine_is_reported(host, settings):
    settings.DEBUG = True
    with pytest.raises(CommandError, match="Cannot listen on"):
        call_command("serve", host=host, port="8000")


@pytest.mark.parametrize(
    ("url", "vendor"),
    [("postgres://user:hunter2@127.0.0.1:1/name", "postgresql"), ("sqlite:////tmp", "sqlite")],
)
def test_unavailable_database_is_reported(url, vendor):
    ended = serve(DATABASE_URL=url)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"CommandError: The database ({vendor}) is unavailable: ")
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stderr


def test_error_is_reported_if_the_database_directory_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    ended = serve(DATABASE_URL=f"sqlite:///{tmp_path}/file/db.sqlite3")

    assert ended.returncode != 0
    assert len(ended.stderr.splitlines()) == 1
    assert "No directory for the database of DATABASE_URL" in ended.stderr


def test_database_directory_is_created(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        check=False,
        env=PRODUCTION | {"DATABASE_URL": f"sqlite:///{tmp_path}/new/folder/db.sqlite3"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "new" / "folder").is_dir()


@pytest.fixture
def old_python(tmp_path: Path) -> dict[str, str]:
    """An environment in which `python3` is Python 3.9."""
    fake = tmp_path / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\n[ "$1" = -V ]\n')
    fake.chmod(0o755)
    return {"PATH": f"{fake.parent}:{os.environ['PATH']}"}


def test_old_python_is_reported(old_python: dict[str, str], tmp_path: Any):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")

    ended = subprocess.run(
        ["make", "run"], check=False, env=old_python, cwd=tmp_path, capture_output=True, text=True
    )

    assert ended.returncode == 2
    assert ended.stdout == (
        "Python 3.11 or later is needed; python3 is Python 3.9.2. Try: make PYTHON=python3.12 run\n"
    )
    assert not (tmp_path / ".venv").exists()
