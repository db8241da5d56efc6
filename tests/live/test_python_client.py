"""The Python client is current and typed, compiles, and can update a connection."""

import compileall
import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from config.openapi.views import document
from tests.service import ROOT, run_program

CLIENT = ROOT / "clients" / "python"
PACKAGE = "stripe_connections_client"
BIN = Path(sys.executable).parent
# mypy also reports an unneeded `type: ignore`.
MISTAKES = """
from stripe_connections_client import AuthenticatedClient
from stripe_connections_client.api.connections import list_connections, update_connection
from stripe_connections_client.models import ListConnectionsResponse200, UpdateConnection

client = AuthenticatedClient("", "")
UpdateConnection("sc_1", config_json=None)
UpdateConnection("sc_1", apikey="")  # type: ignore[call-arg]
UpdateConnection("sc_1", api_key=None)  # type: ignore[arg-type]
UpdateConnection(connection_name="x")  # type: ignore[call-arg]
update_connection.sync(client=client, body=UpdateConnection("sc_1"))  # type: ignore[call-arg]
page = list_connections.sync("ws_demo", client=client)
if isinstance(page, ListConnectionsResponse200):
    page.data.items[0].extra.verification.outcome
    page.data.items[0].extra.api_key  # type: ignore[attr-defined]
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("demo_server"),
    pytest.mark.skipif(
        not (BIN / "openapi-python-client").exists() and not os.environ.get("CI"),
        reason="openapi-python-client is not installed: install requirements.txt",
    ),
]


ENVIRONMENT = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(CLIENT)}


def sources(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.suffix in {".py", ".typed"}]
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def test_generated_code_is_current(tmp_path):
    shutil.copy(CLIENT / "generator.yaml", tmp_path)
    (tmp_path / "openapi.json").write_bytes(document())
    arguments = "generate --fail-on-warning --config generator.yaml --meta none --path openapi.json"

    run_program(
        tmp_path,
        "openapi-python-client",
        *arguments.split(),
        "--output-path",
        PACKAGE,
        **ENVIRONMENT,
    )

    assert sources(tmp_path / PACKAGE) == sources(CLIENT / PACKAGE)


def test_version_is_that_of_the_api():
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]

    assert project["version"] == json.loads(document())["info"]["version"]


def test_every_file_compiles(tmp_path):
    shutil.copytree(CLIENT / PACKAGE, tmp_path / PACKAGE)

    assert compileall.compile_dir(tmp_path, quiet=1)


def test_type_checker_finds_mistakes(tmp_path):
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    # To read the HTTP client takes half of the time.
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-httpx.*]\nfollow_imports = skip\n")
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]

    run_program(tmp_path, "mypy", *options, "mistakes.py", **ENVIRONMENT)


def test_example_of_the_readme_updates_a_connection(tmp_path, demo_server):
    readme = (CLIENT / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    # Nginx would add this header.
    source = re.sub(r"(Client\(base_url[^()]*)\)", r"\1, headers=PORTAL)", example)
    (tmp_path / "example.py").write_text(
        f"base_url, PORTAL = {demo_server.url!r}, {demo_server.portal!r}\n"
        f"username, password = 'demo-manager', {demo_server.passwords['demo-manager']!r}\n{source}"
    )

    output = run_program(tmp_path, sys.executable, "example.py", **ENVIRONMENT)

    assert re.fullmatch(r"""By Python "\d+"\n\[\('connectionName', 'blank'\)\]\n""", output)
