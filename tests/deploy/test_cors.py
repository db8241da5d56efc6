"""A page of another origin calls the API through Nginx, in a real browser."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from config.settings import MAX_BODY_BYTES
from tests.browser import PATIENCE_MS
from tests.deploy.chain import HOST, Chain, Nginx
from tests.service import UPDATE, avoid_midnight

LIMIT = 20
# Returns what a script in the page can read; "unreadable" means that the response was blocked.
CALL = """
async ({url, token, ...options}) => {
  const headers = {Authorization: `Bearer ${token}`, "Content-Type": "application/json"};
  options.headers = {...headers, ...options.headers};
  try {
    const response = await fetch(url, {method: "POST", ...options});
    const shown = ["ETag", "X-Request-Id", "Retry-After", "Idempotent-Replayed", "Referrer-Policy"];
    const read = Object.fromEntries(shown.map((name) => [name, response.headers.get(name)]));
    return {status: response.status, code: (await response.json()).code, ...read};
  } catch (error) {
    return {status: "unreadable"};
  }
}
"""


@pytest.fixture(scope="module")
def origins(tmp_path_factory):
    """Two origins with an empty page: an allowed one, and another."""
    directory = tmp_path_factory.mktemp("page")
    (directory / "index.html").write_text("<!DOCTYPE html><title>Settings</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=directory)
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in servers:
        Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def site(database, chain, origins, tmp_path_factory):
    """A chain that allows the first origin, with a rate limit for each user."""
    started = Chain(
        database,
        tmp_path_factory.mktemp("cors"),
        # The migrations of another database take seconds.
        other=chain,
        ALLOWED_HOSTS=f"127.0.0.1,{HOST}",
        CORS_ALLOWED_ORIGINS=f"https://app.example.com,{origins[0]}",
        THROTTLE_USER=f"{LIMIT}/day",
    )
    yield started
    started.close()


@pytest.fixture
def call(site, browser, origins):
    """Return a function that makes a call from a page, by default of the allowed origin."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()

    def run(origin=0, path=UPDATE, *, token=site.token, nginx=site.nginx, **options):
        if page.url != f"{origins[origin]}/":
            page.goto(origins[origin])
        url = f"http://127.0.0.1:{nginx.port}{path}"
        return page.evaluate(CALL, {"url": url, "token": token, **options})

    yield run
    context.close()


BODY = '{"connectionBizId": "sc_abc123"}'


def test_page_can_update_and_read_the_version(call):
    response = call(body=BODY, headers={"If-Match": "*"})

    assert (response["status"], response["code"]) == (200, "2000")
    assert response["ETag"].startswith('"')
    assert response["X-Request-Id"]
    # This header is not exposed, so the assertions above could fail.
    assert response["Referrer-Policy"] is None


def test_page_can_read_that_a_creation_was_replayed(call):
    path = UPDATE.replace("/update", "/create")
    created = {"body": '{"connectionName": "New"}', "headers": {"Idempotency-Key": "of a form"}}

    responses = [call(path=path, **created) for _ in range(2)]

    assert [response["Idempotent-Replayed"] for response in responses] == [None, "true"]


def test_page_of_another_origin_cannot_read_the_response(call):
    assert call(1, body=BODY) == {"status": "unreadable"}


def test_call_with_credentials_is_blocked(call):
    assert call(body=BODY, credentials="include") == {"status": "unreadable"}


def test_page_can_read_a_401(call):
    response = call(body=BODY, token="expired")

    assert (response["status"], response["code"]) == (401, "4010")


def test_page_can_read_a_412(call):
    response = call(body=BODY, headers={"If-Match": '"0"'})

    assert (response["status"], response["code"]) == (412, "4120")


def test_page_can_read_a_429_of_the_service(call):
    avoid_midnight()
    responses = [call(body=BODY) for _ in range(LIMIT + 1)]

    assert (responses[-1]["status"], responses[-1]["code"]) == (429, "4290")
    assert int(responses[-1]["Retry-After"]) >= 1


def test_page_can_read_a_413_of_nginx(call):
    response = call(body="x" * (MAX_BODY_BYTES + 1))

    assert (response["status"], response["code"]) == (413, "4130")
    assert response["X-Request-Id"]


def test_page_can_read_a_429_of_nginx(call, site, origins, tmp_path):
    """The browser caches the preflight of the first call; another one would be limited, too."""
    slow = {"CLIENT_RATE": "1r/m", "CORS_ALLOWED_ORIGINS": origins[0]}
    nginx = Nginx(site.service.port, tmp_path / "slow", **slow)

    first = call(nginx=nginx, body=BODY, token="expired")
    others = [site.ask({}, path="/web/", port=nginx.port) for _ in range(150)]
    limited = call(nginx=nginx, body=BODY, token="expired")

    nginx.stop()
    assert (first["status"], others[-1].status) == (401, 429)
    assert (limited["status"], limited["code"], limited["Retry-After"]) == (429, "4290", "1")


@pytest.mark.parametrize("body", ["x" * (MAX_BODY_BYTES + 1), "{}"], ids=["nginx", "service"])
@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://evil.example", None),
        ("https://app.example.co", None),
        ("app.example.com", None),
        ("https://app.example.com https://evil.example", None),
        ("", None),
    ],
)
def test_header_contains_the_allowed_origin_or_is_missing(site, body, origin, expected):
    response = site.ask(body, Origin=origin)

    assert response.headers.get("access-control-allow-origin") == expected
    assert response.headers["vary"].lower() == "origin"


def test_header_is_missing_without_allowed_origins(chain):
    response = chain.ask("x" * MAX_BODY_BYTES, Origin="https://app.example.com")

    assert response.status == 413
    assert not {"access-control-allow-origin", "vary"} & response.headers.keys()
