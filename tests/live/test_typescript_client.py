"""The TypeScript client is current and strictly typed, and can update a connection."""

import json
import re
import tarfile
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from config.openapi.views import document
from tests.live.conftest import TYPESCRIPT
from tests.service import run_program

pytestmark = [
    # In one pytest process, so that the packages are installed once.
    pytest.mark.xdist_group("page_server"),
    pytest.mark.slow,
]


def test_generated_types_are_current(typescript):
    run_program(typescript, "npm", "run", "--silent", "generate")

    assert (typescript / "src" / "schema.ts").read_text() == (
        TYPESCRIPT / "src" / "schema.ts"
    ).read_text()


def test_version_is_that_of_the_api():
    package = json.loads((TYPESCRIPT / "package.json").read_text())

    assert package["version"] == json.loads(document())["info"]["version"]


def test_lock_file_does_not_name_a_registry():
    assert "registry" not in (TYPESCRIPT / "package-lock.json").read_text()


def test_example_of_the_readme_updates_a_connection(bundled, page_server):
    said = run_program(
        bundled,
        "node",
        "readme.js",
        BASE_URL=page_server.url,
        USERNAME="demo-manager",
        PASSWORD=page_server.passwords["demo-manager"],
    )

    assert re.fullmatch(r'By TypeScript "\d+"\nnot_https partnerEndpoint\nconflict\n', said)


class Scripted(BaseHTTPRequestHandler):
    """Answers a call with the status in its `limit`, and a refresh with the one that is set."""

    def answer(self):
        server, is_refresh = self.server, self.path.endswith("/refresh")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization")
        server.seen.append("refresh" if is_refresh else token)
        pair = {"accessToken": "second", "refreshToken": "new", "expiresIn": 900}
        if is_refresh:
            status = server.refresh
        elif token == "Bearer first" and server.is_expired:
            status = 401
        else:
            status = int(self.path.partition("limit=")[2])
        body = json.dumps(
            {"code": "x", "message": f"Status {status}", "data": pair if is_refresh else {}}
        )
        if status == 0:
            return
        self.send_response(status)
        self.send_header("Retry-After", "7")
        self.send_header("X-Request-Id", "the-id")
        self.end_headers()
        self.wfile.write(body.encode() if status != 502 else b"<html>Bad gateway")

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def log_message(self, *_):
        pass


@contextmanager
def scripted():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.seen, server.refresh, server.is_expired = [], 200, False
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run_results(bundled, service, *statuses):
    """Make concurrent calls, and return their results and the tokens."""
    address = f"http://127.0.0.1:{service.server_port}"
    said = run_program(bundled, "node", "results.js", address, *map(str, statuses))
    found = json.loads(said)
    return found["results"], found["tokens"]


@pytest.fixture
def service():
    with scripted() as server:
        yield server


@pytest.fixture
def results(bundled, service):
    return partial(run_results, bundled, service)


KINDS = {
    200: "ok",
    400: "invalid",
    403: "forbidden",
    404: "notFound",
    412: "conflict",
    413: "failed",
    422: "keyReused",
    429: "throttled",
    500: "failed",
    502: "unavailable",
    503: "unavailable",
    0: "network",
}


@pytest.fixture(scope="module")
def result_of(bundled):
    """The result for each status, all from one process."""
    with scripted() as service:
        results, _ = run_results(bundled, service, *KINDS)
    return dict(zip(KINDS, results, strict=True))


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_every_response_has_a_kind(result_of, status, kind):
    result = result_of[status]

    assert result["kind"] == kind
    assert result.get("retryAfter") == (7 if kind in {"throttled", "unavailable"} else None)
    assert result.get("requestId") == (None if kind in {"ok", "network"} else "the-id")


def test_token_is_refreshed_once_and_all_calls_are_repeated(results, service):
    service.is_expired = True

    found, tokens = results(*[200] * 5)

    assert [result["kind"] for result in found] == ["ok"] * 5
    assert service.seen.count("refresh") == 1
    assert service.seen.count("Bearer second") == 5
    assert tokens["refreshToken"] == "new"


def test_call_is_repeated_only_once(results, service):
    service.is_expired = True

    [[result], _] = results(401)

    assert result["kind"] == "loggedOut"
    assert service.seen == ["Bearer first", "refresh", "Bearer second"]


def test_expired_session_is_deleted(results, service):
    service.is_expired, service.refresh = True, 401

    [[result], tokens] = results(200)

    assert (result["kind"], tokens) == ("loggedOut", None)
    assert service.seen.count("refresh") == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "throttled"), (503, "unavailable"), (0, "network")]
)
def test_temporary_failure_of_a_refresh_keeps_the_session(results, service, status, kind):
    service.is_expired, service.refresh = True, status

    found, tokens = results(200, 200)

    assert [result["kind"] for result in found] == [kind] * 2
    assert tokens["refreshToken"] == "spent once"


def test_package_contains_only_the_needed_files(packed):
    with tarfile.open(packed) as archive:
        names = set(archive.getnames())
    modules = ("index", "results", "schema", "session")
    expected = {f"dist/{name}{end}" for name in modules for end in (".js", ".d.ts")}
    expected |= {"LICENSE", "README.md", "package.json"}
    assert names == {f"package/{name}" for name in expected}


@pytest.mark.parametrize("file", ["package.json", "package-lock.json", ".npmrc"])
def test_package_does_not_configure_a_registry(file):
    text = (TYPESCRIPT / file).read_text()

    assert not re.search(r"registry[^-]*[=:] *\"?http|_auth|publishConfig|\"private\"", text)


def test_mistakes_do_not_compile(bundled):
    """Each mistake is marked as expected, otherwise the compiler fails."""
    assert (bundled.parent / "example" / "mistakes.tsx").exists()
