"""Schemathesis: the running service matches its OpenAPI document for any request."""

import sys
from pathlib import Path

from tests.service import ROOT, run_program

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


def test_service_matches_its_document(demo_server, tmp_path):
    """The token is in the environment, because a list of processes shows arguments."""
    output = run_program(
        tmp_path,
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={CONFIGURATION}",
        "run",
        f"{demo_server.url}/openapi.json",
        "--checks=all",
        "--phases=examples,coverage,fuzzing,stateful",
        "--continue-on-failure",
        "--warnings=off",
        PYTHONPATH=str(ROOT),
        TOKEN=demo_server.token(),
        PORTAL=demo_server.env["PORTAL_ACCESS_CODE"],
    )

    assert "passed" in output
