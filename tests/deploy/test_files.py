"""The files for containers: they are valid, restricted, and complete."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.config.test_docs import DOCUMENTED
from tests.production import PRODUCTION

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
COMPOSE = YAML(typ="safe").load(ROOT / "compose.yaml")
SERVICES = COMPOSE["services"]


@pytest.mark.parametrize("path", ["Dockerfile", "deploy/pgbouncer/Dockerfile"])
def test_dockerfile_passes_the_linter(path):
    subprocess.check_call([TOOLS / "hadolint", ROOT / path])


def test_compose_file_follows_the_specification():
    schema = ["--builtin-schema", "vendor.compose-spec"]
    subprocess.check_call([TOOLS / "check-jsonschema", *schema, ROOT / "compose.yaml"])


@pytest.mark.parametrize("script", ["make-secrets.sh", "render.sh", "portal-code.envsh"])
def test_script_is_valid_and_executable(script):
    path = ROOT / "deploy" / script
    subprocess.check_call(["sh", "-n", path])

    assert os.access(path, os.X_OK)


def test_only_nginx_publishes_ports():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    assert {"inside", "data"} == {n for n, net in COMPOSE["networks"].items() if net}
    assert set(SERVICES["nginx"]["networks"]) & set(SERVICES["database"]["networks"]) == set()


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_no_unneeded_privileges(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "network_mode", "pid"} & service.keys()


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"database"}))
def test_container_waits_until_its_dependencies_are_healthy(name):
    needed = SERVICES[name]["depends_on"]

    assert {condition["condition"] for condition in needed.values()} == {"service_healthy"}
    # The service's health check is in its image.
    assert all("healthcheck" in SERVICES[other] or other == "service" for other in needed)
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_image_contains_only_listed_files_and_does_not_run_as_root():
    text = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().split()

    assert {f"!{path}" for line in copied for path in line.split()} == {
        line for line in ignored if line.startswith("!")
    }
    assert "*" in ignored
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)


def test_every_setting_of_the_service_is_documented():
    names = SERVICES["service"]["environment"]

    assert {name.removesuffix("_FILE") for name in names} <= set(DOCUMENTED)


def test_every_variable_of_the_compose_file_is_in_the_example():
    used = re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text())
    given = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert set(used) == set(given)


@pytest.fixture(scope="module")
def secret_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.check_call([ROOT / "deploy/make-secrets.sh", directory])
    return directory


def test_every_secret_is_created_and_used(secret_directory):
    own = {"tls_certificate", "tls_certificate_key"}  # the operator provides them

    assert {path.name for path in secret_directory.iterdir()} == set(COMPOSE["secrets"]) - own
    used = {secret for service in SERVICES.values() for secret in service["secrets"]}
    assert used == set(COMPOSE["secrets"])


def test_existing_secrets_are_kept(secret_directory):
    before = {path.name: path.read_text() for path in secret_directory.iterdir()}

    subprocess.check_call([ROOT / "deploy/make-secrets.sh", secret_directory])

    assert {path.name: path.read_text() for path in secret_directory.iterdir()} == before
    assert secret_directory.stat().st_mode & 0o077 == 0


def test_certificate_and_key_can_be_read_by_the_unprivileged_nginx(tmp_path):
    for name, mode in (("fullchain.pem", 0o644), ("key.pem", 0o600)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    given = [tmp_path / "fullchain.pem", tmp_path / "key.pem"]
    command = [ROOT / "deploy/make-secrets.sh", tmp_path / "secrets", *given]
    subprocess.check_call(command)
    key = tmp_path / "secrets" / "tls_certificate_key"
    before = key.stat()
    (tmp_path / "key.pem").write_text("renewed")

    subprocess.check_call(command)

    assert (tmp_path / "secrets" / "tls_certificate").read_text() == "fullchain.pem"
    assert key.read_text() == "renewed"
    assert key.stat().st_mode & 0o777 == 0o644
    # A running container has mounted this file, so the script must not replace it with a new one.
    assert key.stat().st_ino == before.st_ino


def test_documentation_reloads_nginx_after_each_new_service_container():
    text = (ROOT / "docs" / "deployment.md").read_text()
    recreating = re.findall(r"(?m)^.*--force-recreate service\n(.*)$", text)

    assert recreating
    assert [line for line in recreating if not line.endswith("nginx -s reload")] == []


def test_created_secrets_pass_the_checks_for_production(secret_directory):
    files = {
        name: str(secret_directory / Path(path).name)
        for name, path in SERVICES["service"]["environment"].items()
        if name.endswith("_FILE")
    }
    base = {n: PRODUCTION[n] for n in ("DJANGO_SETTINGS_MODULE", "ENV_FILE", "ALLOWED_HOSTS")}
    subprocess.check_call(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env={"PATH": os.environ["PATH"]} | base | files,
        cwd=ROOT,
    )
