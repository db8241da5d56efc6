"""The running service does what its OpenAPI document says, whatever is sent to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site import ROOT

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing", "stateful"])
def test_service_keeps_to_its_document(phase, live, tmp_path):
    """With all checks; the token is in the environment, where no list of processes shows it."""
    finished = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={CONFIGURATION}",
            "run",
            f"{live.url}/openapi.json",
            "--checks=all",
            f"--phases={phase}",
            "--continue-on-failure",
            "--warnings=off",
        ],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "TOKEN": live.token(),
            "PORTAL": live.environment["PORTAL_ACCESS_CODE"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout
    assert "passed" in finished.stdout
