"""The documentation names every setting, and only files, commands and targets that exist."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]*)` \|", re.MULTILINE)


def names_read() -> list[str]:
    """Return the variables that config/settings.py reads from the environment."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "config" / "settings.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    return sorted(
        {
            call.args[0].value
            for call in calls
            if ast.unparse(call.func.value) in {"env", "os.environ"}
            and call.args
            and isinstance(call.args[0], ast.Constant)
        }
    )


DOCUMENTED = ROW.findall((ROOT / "docs" / "settings.md").read_text())

PAGES = [
    "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "clients/python/README.md",
    "clients/typescript/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]  # fmt: skip


def test_settings_are_found():
    assert {"DATABASE_URL", "DEBUG", "ENV_FILE", "FERNET_KEYS"} <= set(names_read())


def test_every_setting_is_documented_once_and_every_documented_one_is_read():
    assert sorted(DOCUMENTED) == names_read()


@pytest.mark.parametrize("path", PAGES)
def test_targets_of_links_exist(path):
    text = (ROOT / path).read_text()
    targets = re.findall(r"\]\(([^)#:]+)\)", text)

    missing = [target for target in targets if not (ROOT / path).parent.joinpath(target).exists()]
    assert missing == []


@pytest.mark.parametrize("path", PAGES)
def test_headings_of_links_exist(path):
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", (ROOT / path).read_text())
    pages = [(ROOT / path).parent / target if target else ROOT / path for target, _ in links]

    missing = [
        name for page, (_, name) in zip(pages, links, strict=True) if name not in anchors(page)
    ]
    assert missing == []


def anchors(page: Path) -> list[str]:
    """Return the anchors of the headings of `page`."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^a-z0-9_ -]", "", text.lower()).replace(" ", "-") for text in headings]


def test_commands_in_operations_exist():
    text = (ROOT / "docs" / "operations.md").read_text()
    named = set(re.findall(r"manage.py ([a-z_]+)", text))

    assert named <= set(get_commands())


def test_targets_in_the_readme_exist():
    named = re.findall(r"(?:^    |`)make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {"run", "test", "check"} <= set(named) <= set(targets)


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_named_files_exist(path):
    named = re.findall(r"`([\w.-]+/[\w./-]*)`", (ROOT / path).read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_diagram_shows_the_layers_that_are_checked():
    [contract] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    [diagram] = re.findall(
        r"```text\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL
    )

    assert diagram.splitlines() == contract["layers"]
