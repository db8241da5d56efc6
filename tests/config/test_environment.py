"""`Environment` reads variables, the .env file and mounted secrets."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import dotenv
from config.environment import Environment


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: Any) -> Any:
    """Restore the process environment after the test, and start with an empty cache."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(Environment.ENVIRON, "env", os.environ)
    monkeypatch.setattr(Environment.ENVIRON, "files_cache", {})


def given(**variables: str) -> Environment:
    os.environ.update(variables)
    return Environment()


def from_file(text: str, tmp_path: Path, **variables: str) -> Environment:
    os.environ.update(variables)
    (tmp_path / ".env").write_text(text)
    return Environment.with_file(tmp_path / ".env")


@pytest.mark.parametrize(
    "value", ["plain", "$dollar", "a$b$c", "$", "$$", r"\$x", "a=b", "#x", " x ", "'", "é", r"\n"]
)
def test_value_is_read_verbatim(value):
    assert given(NAME=value).str("NAME") == value


@pytest.mark.parametrize("value", ["plain", "$dollar", "a$b", r"\$x", "a=b", "a#x", "é", r"a\nb"])
def test_value_of_the_env_file_is_read_verbatim(value, tmp_path):
    assert from_file(f"# comment\n\nNAME={value}\n", tmp_path).str("NAME") == value


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("x", "x"),
        ("x\n", "x"),
        ("x\r\n", "x"),
        ("$x\n", "$x"),
        (" x \n", " x "),
        ("a\nb\n", "a\nb"),
        ("\ufeffx\n", "x"),
    ],
)
def test_mounted_secret_loses_only_its_last_line_break(content, value, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(content.encode())

    assert given(NAME_FILE=str(secret)).str("NAME") == value


def test_mounted_secret_overrides_the_plain_value(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mounted")

    assert given(NAME="plain", NAME_FILE=str(secret)).str("NAME") == "mounted"


def test_empty_file_name_is_ignored():
    assert given(NAME="plain", NAME_FILE="").str("NAME") == "plain"


def test_missing_file_is_reported_with_its_variable(tmp_path):
    environment = given(NAME_FILE=str(tmp_path / "nothing"))

    with pytest.raises(ImproperlyConfigured, match="NAME_FILE cannot be read: No such file"):
        environment.str("NAME")


def test_file_that_is_not_text_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\xff\xfe")

    with pytest.raises(ImproperlyConfigured, match="NAME_FILE cannot be read: it is not UTF-8"):
        given(NAME_FILE=str(secret)).str("NAME")


def test_environment_overrides_the_env_file(tmp_path):
    environment = from_file("NAME=file\nOTHER=file\n", tmp_path, NAME="environment")

    assert (environment.str("NAME"), environment.str("OTHER")) == ("environment", "file")


def test_environment_overrides_a_mounted_secret_of_the_env_file(tmp_path):
    (tmp_path / "secret").write_text("file")

    environment = from_file(f"NAME_FILE={tmp_path}/secret\n", tmp_path, NAME="environment")

    assert environment.str("NAME") == "environment"


def test_env_file_may_name_a_mounted_secret(tmp_path):
    (tmp_path / "secret").write_text("mounted\n")

    assert from_file(f"NAME_FILE={tmp_path}/secret\n", tmp_path).str("NAME") == "mounted"


def test_env_file_may_start_with_a_byte_order_mark(tmp_path):
    assert from_file("\ufeffNAME=x\n", tmp_path).str("NAME") == "x"


def test_env_file_may_be_missing(tmp_path):
    assert Environment.with_file(tmp_path / ".env").str("NAME", "default") == "default"


def test_unreadable_env_file_is_reported(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="cannot be read: Is a directory"):
        Environment.with_file(tmp_path)


def test_entries_are_trimmed():
    assert given(NAME=" a , b,,").items("NAME") == ["a", "b", "", ""]


@pytest.mark.parametrize(("value", "count"), [("", 7), ("0", 0), ("2", 2), ("007", 7)])
def test_count_is_a_whole_number(value, count):
    assert given(NAME=value).count("NAME", 7) == count


@pytest.mark.parametrize("value", ["-1", "1.5", "x", " 1", "²", "٣"])
def test_invalid_count_is_refused(value):
    with pytest.raises(ImproperlyConfigured, match="NAME must be a whole number"):
        given(NAME=value).count("NAME", 7)


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize(
    ("value", "is_on"),
    [
        ("true", True),
        ("True", True),
        ("yes", True),
        ("on", True),
        ("1", True),
        ("false", False),
        ("no", False),
        ("off", False),
        ("0", False),
    ],
)
def test_switch_is_on_or_off(value, is_on, default):
    assert given(NAME=value).switch("NAME", default=default) is is_on
    assert given(NAME="").switch("NAME", default=default) is default


@pytest.mark.parametrize("value", ["ture", "2", " ", "enabled"])
def test_invalid_switch_is_refused(value):
    with pytest.raises(ImproperlyConfigured, match="NAME must be one of TRUE, YES"):
        given(NAME=value).switch("NAME", default=False)


@pytest.mark.parametrize(("value", "chosen"), [("", "A"), ("b", "B"), ("A", "A")])
def test_choice_is_case_insensitive(value, chosen):
    assert given(NAME=value).choice("NAME", "A", ("A", "B")) == chosen


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", {"NAME": "/default.sqlite3"}),
        ("sqlite:////a/b%20c%2Bd.sqlite3", {"NAME": "/a/b c+d.sqlite3"}),
        ("sqlite://:memory:", {"NAME": ":memory:"}),
        (
            "postgres://user:p%40ss%2F%24@db.example.com:6432/name",
            {
                "NAME": "name",
                "USER": "user",
                "PASSWORD": "p@ss/$",
                "HOST": "db.example.com",
                "PORT": 6432,
            },
        ),
        ("postgresql://db/name?sslmode=require", {"OPTIONS": {"sslmode": "require"}}),
    ],
)
def test_database_is_read_from_its_url(url, expected):
    found = given(NAME=url).database("NAME", "sqlite:////default.sqlite3")

    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "postgres://user:hunter2@host:port/name",
        "postgres://user:hunter2@[::1/name",
        "postgres://user:hunter2@host",
        "postgres://user:hunter2@host:99999/name",
        "mysql://user:hunter2@host/name",
        "sqlite://hunter2/name",
    ],
)
def test_invalid_database_url_is_refused_and_not_shown(url):
    with pytest.raises(ImproperlyConfigured, match="NAME must be like") as error:
        given(NAME=url).database("NAME", "sqlite:////default.sqlite3")

    assert "hunter2" not in str(error.value)
    assert error.value.__context__ is None


def test_written_env_file_is_private_and_complete(tmp_path):
    path = tmp_path / ".env"

    dotenv.write(path)

    environment = Environment.with_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().count("FERNET_KEYS=") == 1
    assert environment.switch("DEBUG", default=False) is True
    assert len(environment.str("SECRET_KEY")) >= 50
    assert list(tmp_path.iterdir()) == [path]


def test_env_file_is_written_once(tmp_path):
    path = tmp_path / ".env"
    dotenv.write(path)
    first = path.read_text()

    dotenv.write(path)

    assert path.read_text() == first
    assert list(tmp_path.iterdir()) == [path]


def test_every_env_file_has_different_keys(tmp_path):
    dotenv.write(tmp_path / "one")
    dotenv.write(tmp_path / "two")
    lines = [set((tmp_path / name).read_text().splitlines()) for name in ("one", "two")]

    shared = [line for line in lines[0] & lines[1] if line and not line.startswith("#")]
    assert shared == ["DEBUG=true"]
