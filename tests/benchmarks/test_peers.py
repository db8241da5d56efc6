"""The peers of the benchmark do the same work, or are left out with a reason."""

import os
import shutil
import subprocess

import pytest
from cryptography.fernet import Fernet

from benchmarks import peers, plot

ENCRYPT = "import {{ encrypter }} from './fernet.js'; process.stdout.write(encrypter('{}')('{}'))"


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("node") and not os.environ.get("CI"), reason="Node is not installed"
)
def test_fastify_encrypts_like_the_product():
    key = Fernet.generate_key()
    script = ENCRYPT.format(key.decode(), "a seçret")
    command = ["node", "--input-type=module", "--eval", script]

    token = subprocess.check_output(command, cwd=peers.FASTIFY)

    assert Fernet(key).decrypt(token, ttl=60).decode() == "a seçret"


def test_peer_that_cannot_run_is_left_out_with_a_reason(monkeypatch, capsys):
    monkeypatch.setattr(peers, "MODULES", ("no_such_module",))
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    assert peers.commands(workers=1) == {}
    fastapi, fastify = capsys.readouterr().err.splitlines()
    assert fastapi.startswith("fastapi is left out: no module no_such_module")
    assert fastify == "fastify is left out: node or npm is missing"


def test_chart_shows_every_measured_version():
    ratios = {"app_cpu_ms": 1.25, "requests_per_second": 0.75}
    measured = ("floor", "product", "fastify")

    chart = plot.svg({"servers": {name: {"ratios": ratios} for name in measured}})

    assert [chart.count(f">{name}<") for name in measured] == [2, 2, 2]
    assert ">textbook<" not in chart
