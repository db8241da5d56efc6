"""The TypeScript client: current, strict, and able to update a connection."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from config.openapi.views import document
from tests.service import ROOT, run_program

CLIENT = ROOT / "clients" / "typescript"
NPM = shutil.which("npm")
PREAMBLE = """
declare const process: { env: Record<string, string | undefined> };
const { BASE_URL: baseUrl = "", USERNAME: username = "", PASSWORD: password = "" } = process.env;
"""
# A `@ts-expect-error` above a line without an error is an error.
MISTAKES = """
import { connect, type UpdateConnection } from "./index.js";
const client = connect("", () => undefined);
const update = "/web/v1/workspaces/{workspaceId}/stripe/connections/update";
const params = { path: { workspaceId: "ws_demo" } };
client.POST(update, { params, body: { connectionBizId: "sc_1", configJson: null } });
// @ts-expect-error a misspelt field
const misspelt: UpdateConnection = { connectionBizId: "sc_1", apikey: "" };
// @ts-expect-error a secret that is wiped
client.POST(update, { params, body: { connectionBizId: "sc_1", apiKey: null } });
// @ts-expect-error no connection
client.POST(update, { params, body: { connectionName: "x" } });
// @ts-expect-error no workspace
client.POST(update, { body: { connectionBizId: "sc_1" } });
// @ts-expect-error another method
client.GET(update, { params });
const connections = "/web/v1/workspaces/{workspaceId}/stripe/connections";
const create = `${connections}/create` as const;
const key = { "Idempotency-Key": "a key" };
client.POST(create, { params: { ...params, header: key }, body: { connectionName: "x" } });
// @ts-expect-error no name
client.POST(create, { params, body: { connectionDescription: "x" } });
const page = await client.GET(connections, { params: { ...params, query: { status: "ACTIVE" } } });
page.data?.data.items[0]?.extra.verification.outcome;
// @ts-expect-error a secret in a list
page.data?.data.items[0]?.extra.apiKey;
// @ts-expect-error no such status
client.GET(connections, { params: { ...params, query: { status: "active" } } });
const { data } = await client.POST(update, { params, body: { connectionBizId: "sc_1" } });
// @ts-expect-error a secret in an answer
data?.data.apiKey;
"""

pytestmark = [
    # Its packages are installed once.
    pytest.mark.xdist_group("demo_server"),
    pytest.mark.slow,
    pytest.mark.skipif(
        NPM is None and not os.environ.get("CI"),
        reason="There is no npm here: apt-get install npm",
    ),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: Any) -> Path:
    """A copy of the client with its packages, so that nothing in the work tree changes."""
    copy = tmp_path_factory.mktemp("client") / "clients" / "typescript"
    shutil.copytree(CLIENT, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copytree(ROOT / "docs" / "openapi", copy.parent.parent / "docs" / "openapi")
    run_program(copy, "npm", "ci", "--silent")
    return copy


@pytest.fixture(scope="module")
def compiled(client: Path, demo_server: Any) -> Path:
    """The client together with two programs that use it; the compiler takes seconds."""
    example = re.search(r"```ts\n(.*?)```", (client / "README.md").read_text(), re.DOTALL)[1]
    portal = f", {{ ...{demo_server.portal} }})"
    source = example.replace('"stripe-connections-client"', '"./index.js"')
    source = source.replace("undefined)", f"undefined{portal}")
    source = source.replace("data.accessToken)", f"data.accessToken{portal}")
    (client / "src" / "example.ts").write_text(PREAMBLE.strip() + "\n" + source)
    (client / "src" / "mistakes.ts").write_text(MISTAKES)
    run_program(client, "npm", "run", "--silent", "build")
    return client / "dist"


def test_generated_types_are_current(client):
    run_program(client, "npm", "run", "--silent", "generate")

    assert (client / "src" / "schema.ts").read_text() == (CLIENT / "src" / "schema.ts").read_text()


def test_version_is_the_one_of_the_api():
    package = json.loads((CLIENT / "package.json").read_text())

    assert package["version"] == json.loads(document())["info"]["version"]


def test_lock_file_names_no_registry():
    assert "registry" not in (CLIENT / "package-lock.json").read_text()


def test_example_of_the_readme_updates_a_connection(compiled, demo_server):
    said = run_program(
        compiled,
        "node",
        "example.js",
        BASE_URL=demo_server.url,
        USERNAME="demo-manager",
        PASSWORD=demo_server.passwords["demo-manager"],
    )

    assert re.fullmatch(r'By TypeScript "\d+"\nEdited in a form\n', said)


def test_mistakes_do_not_compile(compiled):
    """Each of them is expected: otherwise the compiler ends with an error."""
    assert (compiled / "mistakes.js").exists()
