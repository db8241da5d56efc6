"""What Nginx adds to requests and removes from them, and its own responses."""

import http.client
import json
import re
import socket
import ssl
import subprocess
import time
from contextlib import closing

import pytest

from config.settings import API_VERSION, MAX_BODY_BYTES
from tests.deploy.chain import HOST, PORTAL, Answer, Nginx
from tests.service import ROOT, UPDATE, free_port, wait_for

UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}").fullmatch


def assert_envelope(response, status, code, message):
    body = response.json
    assert response.status == status
    assert list(body) == ["version", "timestamp", "success", "code", "message"]
    assert (body["version"], body["success"]) == (API_VERSION, False)
    assert (body["code"], body["message"]) == (code, message)
    assert abs(body["timestamp"] - time.time() * 1000) < 60_000
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert UUID(response.headers["x-request-id"])
    assert not re.search(r"\d", response.headers["server"])


def logged(nginx, request_id):
    """Wait for the line of a request in the access log, which is written after the response."""

    def lines():
        return [line for line in nginx.access_log.read_text().splitlines() if request_id in line]

    return json.loads(wait_for(lines, f"A line for {request_id}")[0])


def test_portal_code_is_added(chain):
    response = chain.rename("Through the portal")

    assert (response.status, response.json["data"]["connectionName"]) == (200, "Through the portal")


@pytest.mark.parametrize("name", ["X-PORTAL-ACCESS-CODE", "x-portal-access-code"])
def test_portal_code_of_the_client_is_replaced(chain, name):
    assert chain.rename("With a code", **{name: "made up"}).status == 200


def test_service_refuses_requests_that_bypass_nginx(chain):
    before = chain.name_of()

    responses = [
        chain.rename("Around the portal", port=chain.service.port, **headers)
        for headers in ({}, {"X-PORTAL-ACCESS-CODE": "made up"})
    ]

    assert [(response.status, response.json["code"]) for response in responses] == [
        (403, "4030")
    ] * 2
    assert chain.name_of() == before


def test_request_id_of_the_gateway_is_in_the_response_logs_and_audit(chain):
    sent = "gateway:7f3a.2026-11"

    response = chain.rename("With an id", X_Request_Id=sent)

    assert response.headers["x-request-id"] == sent
    audited = chain.rows(f"SELECT count(*) FROM auditlog_logentry WHERE cid = '{sent}'")
    assert audited == [(1,)]
    line = logged(chain.nginx, sent)
    assert (line["status"], line["path"]) == (200, UPDATE)
    assert sent in chain.service.log.read_text()


@pytest.mark.parametrize("sent", ["", " ", "a b", "a" * 129, "<script>", "{}", "ü", "a,b"])
def test_malformed_request_id_is_replaced(chain, sent):
    response = chain.rename("With an odd id", X_Request_Id=sent)

    given = response.headers["x-request-id"]
    assert UUID(given)
    assert chain.rows(f"SELECT count(*) FROM auditlog_logentry WHERE cid = '{given}'") == [(1,)]


@pytest.mark.parametrize("path", [f"{UPDATE}?token=canary-7351", "/web/canary-7351"])
def test_access_log_has_no_query_string_or_unknown_path(chain, path):
    response = chain.ask({"connectionBizId": "sc_abc123"}, path=path)

    assert logged(chain.nginx, response.headers["x-request-id"])["status"] == response.status
    assert "canary-7351" not in chain.nginx.access_log.read_text()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"{UPDATE}?token=canary-7352", {"connectionName": "x" * MAX_BODY_BYTES}, 413),
        (f"{UPDATE}?token=canary-7352", {}, 502),
    ],
)
def test_error_log_has_no_query_string(chain, tmp_path, path, body, status):
    nginx = Nginx(9, tmp_path / "alone")

    response = chain.ask(body, path=path, port=nginx.port)

    nginx.stop()
    assert response.status == status
    assert "canary-7352" not in nginx.log.read_text()


def test_other_headers_are_not_forwarded(chain):
    """The server would refuse so many headers, or this value, without the envelope."""
    headers = {f"X-Padding-{number}": "x" for number in range(150)}

    response = chain.rename("Padded", **headers, X_Odd="\1")

    assert response.status == 200


def test_idempotency_key_is_forwarded(chain):
    path = "/web/v1/workspaces/ws_demo/stripe/connections/create"
    body = {"connectionName": "By a client that tries again"}

    responses = [chain.ask(body, path=path, Idempotency_Key="a key") for _ in range(2)]

    assert [response.status for response in responses] == [200, 200]
    assert responses[0].json["data"]["bizId"] == responses[1].json["data"]["bizId"]
    assert responses[1].headers["idempotent-replayed"] == "true"


def test_malformed_idempotency_key_is_400_in_the_envelope(chain):
    path = "/web/v1/workspaces/ws_demo/stripe/connections/create"

    response = chain.ask({"connectionName": "Garbled"}, path=path, Idempotency_Key="a\x01b")

    assert_envelope(response, 400, "4000", "Invalid request")


@pytest.mark.parametrize("listener", ["port", "internal_port"])
def test_header_names_with_an_underscore_are_ignored(chain, listener):
    body = json.dumps({"connectionBizId": "sc_abc123", "connectionName": "Underscores"})
    port = getattr(chain.nginx, listener)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.putrequest("POST", UPDATE, skip_host=True)
        for name, value in {
            "Host": HOST,
            "Authorization": f"Bearer {chain.token}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-PORTAL-ACCESS-CODE": PORTAL["X-PORTAL-ACCESS-CODE"],
            "X_PORTAL_ACCESS_CODE": "made-up",
            "X_Request_Id": "made-up",
            "If_Match": '"999999"',
        }.items():
            connection.putheader(name, value)
        connection.endheaders(body.encode())
        response = Answer(connection.getresponse())

    assert UUID(response.headers["x-request-id"])
    # The internal listener removes the code, with or without underscores.
    assert response.status == {"port": 200, "internal_port": 403}[listener]


def test_forwarded_headers_of_the_client_are_ignored(chain):
    """The rate limit for logins, ten a minute, uses the address that Nginx sees.

    A body without a user name counts for the address only, and no password is hashed.
    """

    def log_in(number):
        return chain.ask(
            {},
            path="/web/v1/auth/token",
            token="",
            X_Forwarded_For=f"198.51.100.{number}",
            X_Real_IP=f"198.51.100.{number}",
            Forwarded=f"for=198.51.100.{number}",
        )

    responses = map(log_in, range(255))
    refused = next((response for response in responses if response.status == 429), None)

    assert refused
    assert int(refused.headers["retry-after"]) >= 1


def test_address_from_a_trusted_gateway_is_used(chain, tmp_path):
    nginx = Nginx(chain.service.port, tmp_path / "behind", GATEWAY="127.0.0.0/8")

    forwarded = {"X-Forwarded-For": "203.0.113.1, 198.51.100.7", "X-Request-Id": "from-afar"}
    chain.rename("From afar", port=nginx.port, **forwarded)

    line = logged(nginx, "from-afar")
    nginx.stop()
    assert line["client"] == "198.51.100.7"


def test_template_has_the_version_and_the_limit():
    text = (ROOT / "deploy/nginx.conf.template").read_text()

    assert f'"version":"{API_VERSION}"' in text
    assert f"client_max_body_size {MAX_BODY_BYTES // 1024}k;" in text


def test_largest_body_is_accepted(chain):
    """Nginx and the service have the same limit."""
    body = {"connectionBizId": "sc_abc123", "connectionName": "Large"}
    padding = MAX_BODY_BYTES - len(json.dumps(body | {"updatedAt": ""}))

    assert chain.ask(body | {"updatedAt": "x" * padding}).status == 200


def test_long_body_is_413_in_the_envelope(chain):
    response = chain.rename("x" * MAX_BODY_BYTES)

    assert_envelope(response, 413, "4130", "Request body too large")


def test_413_of_nginx_equals_the_413_of_the_service(chain):
    from_nginx = chain.rename("x" * MAX_BODY_BYTES)
    from_service = chain.rename("x" * MAX_BODY_BYTES, port=chain.service.port, **PORTAL)

    assert from_nginx.status == from_service.status == 413
    assert from_nginx.json | {"timestamp": 0} == from_service.json | {"timestamp": 0}
    names = {"content-type", "cache-control", "x-content-type-options", "referrer-policy"}
    assert {from_nginx.headers[name] for name in names} == {
        from_service.headers[name] for name in names
    }


def test_long_path_is_414_in_the_envelope(chain):
    assert_envelope(chain.ask({}, path="/web/" + "x" * 20_000), 414, "4000", "Invalid request")


def test_long_header_is_431_in_the_envelope(chain):
    response = chain.rename("New", X_Padding="x" * 20_000)

    assert_envelope(response, 431, "4000", "Invalid request")


def test_many_requests_are_429_in_the_envelope(chain, tmp_path):
    nginx = Nginx(chain.service.port, tmp_path / "slow", CLIENT_RATE="1r/m")

    responses = [chain.ask({}, path="/web/", port=nginx.port) for _ in range(150)]

    nginx.stop()
    assert responses[0].status == 404
    assert_envelope(responses[-1], 429, "4290", "Too many requests")
    assert responses[-1].headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/", "/admin/", "/metrics", "/healthz", "/readyz", "/static/x"])
def test_public_listener_serves_only_the_api(chain, path):
    assert_envelope(chain.ask(None, method="GET", path=path), 404, "4040", "Not found")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/", "/static/openapi/docs.js"])
def test_public_listener_serves_the_documentation(chain, path):
    assert chain.ask(None, method="GET", path=path).status == 200


def test_internal_listener_serves_the_admin(chain):
    response = chain.ask(None, method="GET", path="/admin/login/", port=chain.nginx.internal_port)

    assert response.status == 200
    assert b"csrfmiddlewaretoken" in response.body


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_internal_listener_serves_the_probes(chain, path):
    response = chain.ask(None, method="GET", path=path, port=chain.nginx.internal_port)

    assert response.status == 200


def test_internal_listener_does_not_serve_the_api(chain):
    response = chain.rename("Inside", port=chain.nginx.internal_port)

    assert (response.status, response.json["code"]) == (403, "4030")


def test_etag_stays_strong(chain):
    response = chain.rename("Compressed?", Accept_Encoding="gzip")

    assert re.fullmatch(r'"\d+"', response.headers["etag"])
    assert "content-encoding" not in response.headers


def test_unreachable_service_is_502_in_the_envelope(chain, tmp_path):
    nginx = Nginx(9, tmp_path / "alone")

    response = chain.rename("New", port=nginx.port)

    nginx.stop()
    assert_envelope(response, 502, "5030", "Service unavailable, try again")
    assert response.headers["retry-after"] == "1"


@pytest.fixture
def tls_nginx(chain, tmp_path):
    """Nginx with a self-signed certificate."""
    files = {"TLS_CERTIFICATE": tmp_path / "certificate", "TLS_CERTIFICATE_KEY": tmp_path / "key"}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    command += ["-out", str(files["TLS_CERTIFICATE"]), "-keyout", str(files["TLS_CERTIFICATE_KEY"])]
    subprocess.check_call(command, stderr=subprocess.DEVNULL)
    port = free_port()
    variables = {name: str(path) for name, path in files.items()}
    variables["PUBLIC_LISTEN"] = f"127.0.0.1:{port} ssl"
    nginx = Nginx(chain.service.port, tmp_path / "tls", port=port, **variables)
    yield nginx
    nginx.stop()


def test_tls_is_terminated_by_nginx(chain, tls_nginx):
    context = ssl.create_default_context(cafile=str(tls_nginx.directory.parent / "certificate"))
    address = ("127.0.0.1", tls_nginx.port)
    connection = http.client.HTTPSConnection(*address, context=context)
    connection.sock = context.wrap_socket(socket.create_connection(address), server_hostname=HOST)
    with closing(connection):
        response = chain.send(connection, {"connectionBizId": "sc_abc123", "connectionName": "TLS"})

    assert (response.status, response.json["data"]["connectionName"]) == (200, "TLS")


def test_request_without_tls_is_refused(chain, tls_nginx):
    response = chain.rename("In the clear", port=tls_nginx.port)

    assert_envelope(response, 400, "4000", "Invalid request")
    assert chain.audited_names("In the clear") == {}
