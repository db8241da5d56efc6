"""Fixtures for the tests of the TypeScript client and its example."""

import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.fake_stripe import FakeStripe, serving
from tests.service import ROOT, Demo, run_program

TYPESCRIPT = ROOT / "clients" / "typescript"
NPM = shutil.which("npm")
QUICKLY = ("--silent", "--no-audit", "--no-fund")
PROGRAMS = Path(__file__).with_name("programs")
# What the example of the README expects.
VARIABLES = """declare const process: { env: Record<string, string | undefined> };
const { BASE_URL: baseUrl = "", USERNAME: username = "", PASSWORD: password = "" } = process.env;
"""


@pytest.fixture(scope="session")
def typescript(tmp_path_factory: Any) -> Path:
    """A copy of the client with its packages, so that the working tree does not change."""
    if NPM is None and not os.environ.get("CI"):
        pytest.skip("npm is not installed: apt-get install npm")
    copy: Path = tmp_path_factory.mktemp("client") / "clients" / "typescript"
    shutil.copytree(TYPESCRIPT, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copytree(ROOT / "docs" / "openapi", copy.parent.parent / "docs" / "openapi")
    if is_installed():
        (copy / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    else:
        run_program(copy, "npm", "ci", *QUICKLY)
    return copy


def is_installed() -> bool:
    """Whether `make test` has installed the packages of the lock file."""
    installed, lock = TYPESCRIPT / "node_modules/.package-lock.json", "package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= (TYPESCRIPT / lock).stat().st_mtime


@pytest.fixture(scope="session")
def packed(typescript: Path) -> Path:
    """The package, built from a clean checkout like by `npm publish`."""
    run_program(typescript, "npm", "pack", "--silent")
    [archive] = typescript.glob("*.tgz")
    return archive


@pytest.fixture(scope="session")
def bundled(typescript: Path, packed: Path) -> Path:
    """Compile the example and the programs of the tests, and return the programs' directory.

    All with the package and at once, because the compiler takes seconds.
    """
    readme = re.search(r"```ts\n(.*?)```", (typescript / "README.md").read_text(), re.DOTALL)
    (typescript / "example" / "readme.tsx").write_text(VARIABLES + (readme[1] if readme else ""))
    for program in PROGRAMS.glob("*.tsx"):
        shutil.copy(program, typescript / "example")
    run_program(typescript, "npm", "run", "--silent", "bundle")
    bundle = ["node_modules/.bin/esbuild", "--bundle", "--format=esm", "--outdir=programs"]
    run_program(typescript, *bundle, "example/readme.tsx", "example/results.tsx")
    return typescript / "programs"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def frontend(typescript: Path, bundled: Path) -> Iterator[str]:
    """Serve the example, and return its origin."""
    handler = partial(QuietHandler, directory=typescript / "example")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def stripe_of_pages() -> Iterator[FakeStripe]:
    with serving() as fake:
        yield fake


@pytest.fixture(scope="session")
def page_server(
    tmp_path_factory: Any, frontend: str, stripe_of_pages: FakeStripe
) -> Iterator[Demo]:
    """A service that allows the origin `frontend` and verifies keys."""
    started = Demo(
        tmp_path_factory.mktemp("pages"),
        CORS_ALLOWED_ORIGINS=frontend,
        PORTAL_ACCESS_CODE="",
        STRIPE_API_BASE=stripe_of_pages.url,
        STRIPE_VERIFY="true",
        THROTTLE_STRIPE="",
    )
    yield started
    started.stop()
