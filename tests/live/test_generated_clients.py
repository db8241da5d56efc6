"""A client that openapi-generator generates from the document can update a connection.

tests/live/test_python_client.py tests the client from openapi-python-client, which is committed.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from config.openapi.views import document
from tests.service import run_program

LOCATIONS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
OPENAPI_GENERATOR = """
from client import ApiClient, Configuration, ConnectionsApi, TokensApi
from client import Credentials, UpdateBody, UpdateConnection
from client.exceptions import BadRequestException

client = ApiClient(Configuration(URL))
client.default_headers |= PORTAL
login = TokensApi(client).obtain_token(Credentials(username="demo-manager", password=PASSWORD))
client.configuration.access_token = login.data.access_token
update = ConnectionsApi(client).update_connection
for name in ("By a generated client", " "):
    body = UpdateConnection.model_construct(connection_biz_id="sc_abc123", connection_name=name)
    try:
        print(update("ws_demo", UpdateBody(body)).data.connection_name)
    except BadRequestException as error:
        print(error.data.errors[0].code.value)
"""
GENERATE = "generate -i openapi.json -g python -o . --package-name client"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo_server")]


def test_generated_client_can_update_a_connection_and_read_an_error(
    demo_server: Any, tmp_path: Path
) -> None:
    generator = "openapi-generator-cli"
    if not shutil.which(generator, path=LOCATIONS) and not os.environ.get("CI"):
        pytest.skip(f"{generator} is not installed: install requirements.txt")
    (tmp_path / "openapi.json").write_bytes(document())
    # To compile what runs for seconds costs more than it saves.
    java = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
    run_program(tmp_path, generator, *GENERATE.split(), PATH=LOCATIONS, **java)
    (tmp_path / "program.py").write_text(
        f"URL, PORTAL = {demo_server.url!r}, {demo_server.portal!r}\n"
        f"PASSWORD = {demo_server.passwords['demo-manager']!r}\n{OPENAPI_GENERATOR}"
    )

    assert run_program(tmp_path, sys.executable, "program.py") == "By a generated client\nblank\n"
