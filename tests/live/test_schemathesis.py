"""The running service does what its OpenAPI document says, whatever is sent to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing", "stateful"])
def test_service_keeps_to_its_document(phase, demo_server, tmp_path):
    """With all checks; the token is in the environment, where no list of processes shows it."""
    finished = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={CONFIGURATION}",
            "run",
            f"{demo_server.url}/openapi.json",
            "--checks=all",
            f"--phases={phase}",
            "--continue-on-failure",
            "--warnings=off",
        ],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "TOKEN": demo_server.token(),
            "PORTAL": demo_server.env["PORTAL_ACCESS_CODE"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout
    assert "passed" in finished.stdout
