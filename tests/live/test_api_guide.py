"""docs/api.md: its examples run without changes, and its tables are correct."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from config.web_chain import envelope
from config.web_chain.envelope import failure_response
from stripe_connections.api.serializers import UpdateConnectionSerializer
from tests.config.test_openapi import ANSWER, DOCUMENT
from tests.service import ROOT
from tests.stripe_connections.api.test_update_fields import VALID

GUIDE = (ROOT / "docs" / "api.md").read_text()
SHELL, LOST_UPDATES = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
[PYTHON] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
FETCH, EDIT = re.findall(r"```js\n(.*?)```", GUIDE, re.DOTALL)
[SUCCESS, FAILURE] = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
CELLS = [
    (field, sent, cell)
    for fields, *cells in re.findall(
        r"^\| (`.+?`) \| (.+) \| (.+) \| (.+) \|$", GUIDE, re.MULTILINE
    )
    for field in re.findall(r"`(\w+)`", fields)
    for sent, cell in zip(["omitted", None, ""], cells, strict=True)
    if field in DOCUMENT["components"]["schemas"]["UpdateConnection"]["properties"]
]
CALL = {"connectionBizId": "sc_abc123"}


def run(demo_server, command, program):
    """Run an example with the portal code, and return its output."""
    environment = {
        "BASE_URL": demo_server.url,
        "USER_NAME": "demo-manager",
        "PASSWORD": demo_server.passwords["demo-manager"],
        "TOKEN": demo_server.token(),
        "PORTAL": demo_server.env["PORTAL_ACCESS_CODE"],
    }
    return subprocess.run(
        command,
        input=program,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def through_nginx(program):
    return 'curl() { command curl -H "X-PORTAL-ACCESS-CODE: $PORTAL" "$@"; }\n' + program


@pytest.mark.skipif(
    not shutil.which("curl") and not os.environ.get("CI"),
    reason="curl is not installed: apt-get install curl",
)
def test_curl_example_updates_the_connection(demo_server):
    output = run(demo_server, ["sh"], through_nginx(SHELL))

    assert output.startswith("HTTP/1.1 200 ")
    assert "Updated Stripe Connection" in output


@pytest.mark.skipif(
    not shutil.which("curl") and not os.environ.get("CI"),
    reason="curl is not installed: apt-get install curl",
)
def test_curl_example_of_a_lost_update_is_refused(demo_server):
    output = run(demo_server, ["sh"], through_nginx(LOST_UPDATES))

    assert re.findall(r"^HTTP/1.1 (\d+)", output, re.MULTILINE) == ["200", "412"]
    assert json.loads(output.splitlines()[-1])["code"] == "4120"


def test_python_example_updates_the_connection(demo_server):
    before = "import os\nbase_url, token = os.environ['BASE_URL'], os.environ['TOKEN']\n"
    portal = "request.add_header('X-PORTAL-ACCESS-CODE', os.environ['PORTAL'])\n"
    program = before + PYTHON.replace("with urlopen", f"{portal}with urlopen")

    assert re.fullmatch(
        r'Updated Stripe Connection "\d+"\n', run(demo_server, [sys.executable, "-"], program)
    )


@pytest.mark.skipif(
    not shutil.which("node") and not os.environ.get("CI"),
    reason="node is not installed: apt-get install nodejs",
)
def test_fetch_example_updates_the_connection(demo_server):
    before = "const { BASE_URL: baseUrl, TOKEN: token, PORTAL: portal } = process.env;\n"
    program = before + FETCH.replace("headers: {", 'headers: { "X-PORTAL-ACCESS-CODE": portal,')

    output = run(demo_server, ["node", "--input-type=module", "-"], program)

    assert re.fullmatch(r'Updated Stripe Connection "\d+"\n', output)


@pytest.mark.skipif(
    not shutil.which("node") and not os.environ.get("CI"),
    reason="node is not installed: apt-get install nodejs",
)
def test_fetch_example_sends_the_changed_data_back(demo_server):
    before = "const { BASE_URL: baseUrl, TOKEN: token, PORTAL: portal } = process.env;\n"
    program = before + EDIT.replace(
        "const headers = {", 'const headers = { "X-PORTAL-ACCESS-CODE": portal,'
    )

    output = run(demo_server, ["node", "--input-type=module", "-"], program)

    shown, saved = re.fullmatch(r'Edited in a form (\d+) "(\d+)"\n', output).groups()
    assert int(saved) == int(shown) + 1


def test_examples_of_responses_are_correct():
    assert f"{json.dumps(ANSWER, indent=2)}\n" == SUCCESS
    assert (
        json.loads(FAILURE).keys()
        == (json.loads(failure_response(400).content) | {"errors": []}).keys()
    )


def test_table_lists_every_error():
    rows = re.findall(r"^\| (\d{3}) \| (\d{4}) \| .+ \| .+ \|$", GUIDE, re.MULTILINE)

    assert rows == [(str(status), code) for status, (code, _) in envelope.ERRORS.items()]


def test_table_lists_every_code_of_a_field_error():
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| [^|]+ \|$", GUIDE, re.MULTILINE)

    assert rows == DOCUMENT["components"]["schemas"]["FieldErrorCode"]["enum"]


def test_table_lists_every_field():
    assert len(CELLS) == 8 * 3
    assert sum(cell == "stays" for _, _, cell in CELLS) == 7


@pytest.mark.only_on("sqlite", reason="bad values do not reach the database")
@pytest.mark.parametrize(("field", "sent", "cell"), [c for c in CELLS if "400" in c[2]])
def test_value_is_refused_like_in_the_table(field, sent, cell, manager, assert_refused):
    body = {name: value for name, value in (CALL | {field: sent}).items() if value != "omitted"}

    errors = assert_refused(manager.update(body), 400, "4000")["errors"]

    assert [(error["field"], error["code"]) for error in errors] == [(field, cell.split("`")[1])]


@pytest.mark.parametrize(
    ("field", "sent", "cell"), [c for c in CELLS if c[2].startswith(("stored", "cleared"))]
)
def test_value_is_stored_like_in_the_table(field, sent, cell, manager, connection):
    response = manager.update(CALL | {field: sent})

    assert cell == {None: "cleared to `null`", "": 'stored as `""`'}[sent]
    assert response.json()["data"][field] == sent


@pytest.mark.parametrize("field", [field for field, sent, cell in CELLS if cell == "stays"])
def test_omitted_field_keeps_its_value_like_in_the_table(field, manager, connection, stored):
    others = {name: value for name, value in VALID.items() if name != field}
    column = UpdateConnectionSerializer().fields[field].source
    before = stored(connection)[column]

    assert manager.update(others).status_code == 200
    assert stored(connection)[column] == before
