"""How the client handles replies, failures and timeouts, with Stripe's library over real HTTP."""

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import REGISTRY

from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply, Request
from tests.conftest import log_lines, random_api_key, written_log
from tests.fake_stripe import STORED
from tests.service import free_port, wait_for

PERMISSION = "rak_accounts_kyc_basic_read"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
# Longer than the limit for a reply.
HUGE = b" " * 70_000 + json.dumps({"id": STORED}).encode()


def verify(key=None, account_id=None):
    request = Request(key or random_api_key(), account_id, workspace_id=1)
    return verification.verify(request, rate=None)


def facts(reply):
    return reply.verification, reply.account_id, reply.missing_permission


def sends_raw(stripe, data):
    stripe.answer = lambda handler: handler.wfile.write(data)


def test_key_of_an_account_is_verified(stripe):
    reply = verify()

    assert (reply.verification, reply.account_id) == ("verified", STORED)
    assert [path for path, _ in stripe.requests] == ["/v1/account"]


def test_401_is_rejected(stripe):
    stripe.rejects()

    assert facts(verify()) == ("rejected", None, None)


@pytest.mark.parametrize(
    ("message", "permission"),
    [
        (f"Having the '{PERMISSION}' permission would allow this.", PERMISSION),
        (f"{PERMISSION} and rak_balance_read", PERMISSION),
        ("rak_" + "a" * 60, "rak_" + "a" * 60),
        (
            "Lacks rak_ab. Enabling \"A/B & C Read\" ('ab_read') permissions",
            "A/B & C Read (ab_read)",
        ),
    ],
)
def test_403_with_a_permission_is_restricted(stripe, message, permission):
    stripe.fails(403, message)

    assert facts(verify()) == ("restricted", None, permission)


@pytest.mark.parametrize(
    "message",
    ["The key rk_live_x_rak_secret has no permission.", "rak_ and RAK_ACCOUNTS", "No.", None, 5],
)
def test_403_without_a_permission_is_unverified(stripe, message):
    stripe.fails(403, message)

    assert facts(verify()) == ("unverified", None, None)


WITHOUT_INFORMATION = [
    (200, b""),
    (200, b"OK"),
    (200, b"<html>"),
    (200, b"\xff\xfe"),
    (200, b"[1]"),
    (200, b"null"),
    (200, b"7"),
    (200, b"{}"),
    (200, {"error": {"message": "No."}}),
    (200, {"id": None}),
    (200, {"id": 5}),
    (200, {"id": ["acct_1"]}),
    (200, {"id": "acct_"}),
    (200, {"id": "cus_1"}),
    (200, {"id": "acct_1\n"}),
    (200, {"id": "acct_é"}),
    (200, {"id": "acct_" + "1" * 251}),
    (200, HUGE),
    (204, b""),
    (400, {"error": {"message": "No."}}),
    (401, b"<html>a proxy's"),
    (401, {"message": "a gateway's"}),
    (403, b"<html>a proxy's"),
    (403, {"message": "a gateway's"}),
    (402, {"error": {"message": "No."}}),
    (404, {"error": {"message": "No."}}),
    (429, {"error": {"message": "No."}}),
    (400, {"error": "invalid_client"}),
    (400, {"error": "text"}),
    (400, {"error": ["list"]}),
    (400, {"error": None}),
    (418, b"teapot"),
]


def test_reply_without_information_is_unverified(stripe):
    def reply(status, body):
        stripe.requests.clear()
        stripe.sends(status, body)
        return *facts(verify()), len(stripe.requests)

    replies = [(case, reply(*case)) for case in WITHOUT_INFORMATION]
    assert [each for each in replies if each[1] != ("unverified", None, None, 1)] == []


@pytest.mark.parametrize("status", [409, 500, 502, 503])
def test_failed_request_is_retried_once(stripe, status):
    stripe.fails(status)

    assert verify().verification == "unverified"
    assert len(stripe.requests) == 2


def test_retry_can_succeed(stripe):
    answers = iter([503, 200])
    body = json.dumps({"id": STORED}).encode()
    stripe.answer = lambda handler: handler.send(next(answers), body)

    assert verify().verification == "verified"


def test_request_is_retried_once_after_a_broken_connection(stripe):
    knows = stripe.answer

    def answer(handler):
        stripe.answer = knows

    stripe.answer = answer

    assert verify().verification == "verified"
    assert len(stripe.requests) == 2


def test_header_of_stripe_prevents_a_retry(stripe):
    stripe.fails(500, Stripe_Should_Retry="false")

    assert verify().verification == "unverified"
    assert len(stripe.requests) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16\x03\x01garbage",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        JSON % 9_000 + b'{"id": "acct_1"}',
        JSON % 10_000_000_000 + b"{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n{}",
    ],
    ids=[
        "nothing",
        "no HTTP",
        "no status",
        "no length",
        "cut off",
        "endless",
        "bad chunk",
        "long header",
        "many headers",
    ],
)
def test_garbage_is_unverified(stripe, data):
    sends_raw(stripe, data)

    assert facts(verify()) == ("unverified", None, None)


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["headers", "body"],
)
def test_slow_reply_exceeds_the_deadline(stripe, start):
    """The complete reply would be a valid one."""
    stripe.drips(start)

    assert verify().verification == "unverified"
    # None, if the request does not arrive before the deadline.
    assert len(stripe.requests) <= 1
    assert not stripe.has_ended


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 100 Continue\r\nX: ",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + b"HTTP/1.1 100 Continue\r\nX: ",
    ],
    ids=["body", "headers", "continue", "many continues"],
)
def test_endless_reply_does_not_block_other_requests(stripe, start):
    stripe.drips(start, letters=10_000)
    assert verify().verification == "unverified"

    places = [verification._places.acquire(timeout=60) for _ in range(verification.MAX_AT_ONCE)]
    verification._places.release(len(places))

    assert all(places)
    assert not stripe.has_ended


def test_timeout_is_unverified_and_not_retried(stripe):
    stripe.is_silent()

    assert verify().verification == "unverified"
    wait_for(lambda: stripe.requests, "The request")
    assert len(stripe.requests) == 1


def test_endless_body_is_not_read_completely(stripe):
    sent = []

    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while len(sent) < 10_000:
            handler.wfile.write(b" " * 10_000)
            sent.append(10_000)

    stripe.answer = answer

    assert verify().verification == "unverified"
    assert sum(sent) < 10_000 * 10_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(stripe, status):
    stripe.sends(status, b"", Location=f"{stripe.url}/elsewhere")

    assert verify().verification == "unverified"
    assert [path for path, _ in stripe.requests] == ["/v1/account"]


def test_compressed_reply_is_unverified(stripe):
    stripe.sends(200, b"\x1f\x8b\x08", Content_Encoding="gzip")

    assert verify().verification == "unverified"
    assert stripe.requests[0][1]["Accept-Encoding"] == "identity"


def test_refused_connection_is_unverified(stripe, settings):
    settings.STRIPE_API_BASE = f"http://127.0.0.1:{free_port()}"

    assert verify().verification == "unverified"


def test_unknown_host_is_unverified(stripe, settings):
    settings.STRIPE_API_BASE = "http://stripe.invalid"

    assert verify().verification == "unverified"


def test_base_url_may_end_with_a_slash(stripe, settings):
    settings.STRIPE_API_BASE += "/"

    assert verify().verification == "verified"
    assert [path for path, _ in stripe.requests] == ["/v1/account"]


def test_key_of_an_organization_is_sent_with_the_account(stripe):
    assert verify(random_api_key("sk_org_live_"), STORED).verification == "verified"

    assert stripe.requests[0][1]["Stripe-Context"] == STORED
    assert stripe.requests[0][1]["Stripe-Version"]


def test_key_of_an_organization_without_an_account_is_not_sent(stripe):
    changes = {"api_key": random_api_key("sk_org_live_"), "stripe_account_id": None}

    assert verification.request_of(StripeConnection(), changes) is None


def test_other_key_is_sent_without_the_account(stripe):
    verify(random_api_key(), STORED)

    assert {"Stripe-Context", "Stripe-Account"}.isdisjoint(stripe.requests[0][1])


def test_netrc_does_not_replace_the_key_without_tls(stripe, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    key = random_api_key()

    verify(key)

    assert stripe.keys == [key]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_proxy_is_not_used_without_tls(stripe, monkeypatch, name):
    for exception in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(exception, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert verify().verification == "verified"


def test_no_telemetry_is_sent(stripe):
    stripe.sends(200, {"id": STORED}, Request_Id="req_1")
    verify()
    verify()

    for _, headers in stripe.requests:
        assert "X-Stripe-Client-Telemetry" not in headers
        assert {"platform", "telemetry_id"}.isdisjoint(
            json.loads(headers["X-Stripe-Client-User-Agent"])
        )


def test_request_above_the_concurrency_limit_is_unverified(stripe):
    arrived, may_answer = threading.Semaphore(0), threading.Event()
    knows = stripe.answer

    def answer(handler):
        arrived.release()
        may_answer.wait(60)
        knows(handler)

    stripe.answer = answer
    waiting = [threading.Thread(target=verify) for _ in range(verification.MAX_AT_ONCE)]
    for thread in waiting:
        thread.start()
    for _ in waiting:
        assert arrived.acquire(timeout=60)

    assert verify().verification == "unverified"
    assert len(stripe.requests) == verification.MAX_AT_ONCE
    may_answer.set()
    for thread in waiting:
        thread.join()


def test_finished_requests_do_not_count_for_the_concurrency_limit(stripe):
    stripe.rejects()
    outcomes = {verify().verification for _ in range(verification.MAX_AT_ONCE + 2)}

    assert outcomes == {"rejected"}


@pytest.mark.parametrize(
    ("answer", "outcome", "cause", "status"),
    [
        ("rejects", "rejected", "not_accepted", 401),
        ("is_silent", "unverified", "unreachable", None),
    ],
)
def test_verification_is_counted_and_logged_without_text_of_the_reply(
    connection, stripe, answer, outcome, cause, status
):
    getattr(stripe, answer)()
    name, labels = "connections_verification_total", {"outcome": outcome, "cause": cause}
    before = REGISTRY.get_sample_value(name, labels) or 0
    with written_log() as log:
        verification.verify(verification.stored_request(connection))

    assert REGISTRY.get_sample_value(name, labels) == before + 1
    (line,) = log_lines(log)
    assert (line["event"], line["outcome"], line["status"]) == ("verification", outcome, status)
    assert set(line) - {"time", "level", "event", "logger", "request_id"} == {
        "outcome",
        "cause",
        "status",
        "duration_ms",
    }


def test_duration_is_logged_in_milliseconds(connection, stripe, monkeypatch):
    clock = iter([10.0, 10.123456])
    monkeypatch.setattr(verification, "perf_counter", lambda: next(clock))
    with written_log() as log:
        verification.verify(verification.stored_request(connection))

    assert log_lines(log)[0]["duration_ms"] == 123.46


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (422, "unknown_reply"),
        (429, "rate_limited"),
        (499, "unknown_reply"),
        (500, "stripe_error"),
        (599, "stripe_error"),
    ],
)
def test_error_with_an_unknown_text_is_judged_by_its_status(stripe, status, cause):
    stripe.fails(status)

    assert (facts(verify()), verify().cause) == (("unverified", None, None), cause)


def test_permissions_of_a_rejected_key_are_not_requested(stripe, settings):
    settings.STRIPE_REQUIRED_PERMISSIONS = ["customers"]
    stripe.rejects()

    reply = verify(random_api_key("rk_live_"))

    assert facts(reply) == ("rejected", None, None)
    assert [path for path, _ in stripe.requests] == ["/v1/account"]


def test_missing_request_is_neither_counted_nor_logged(connection, stripe):
    name, labels = "connections_verification_total", {"outcome": "unverified", "cause": ""}
    before = REGISTRY.get_sample_value(name, labels)
    with written_log() as log:
        assert verification.verify(None) == Reply()

    assert REGISTRY.get_sample_value(name, labels) == before
    assert (stripe.requests, log.getvalue()) == ([], "")


def test_verification_without_a_rate_is_not_logged(connection, stripe):
    with written_log() as log:
        verification.verify(verification.stored_request(connection), rate=None)

    assert log.getvalue() == ""


@pytest.fixture
def certificate(tmp_path):
    """A file with a private key and its certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Stripe")])
    now = datetime.now(UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(host, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def stripe_with_tls(stripe, certificate, settings, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    stripe.server.socket = context.wrap_socket(stripe.server.socket, server_side=True)
    settings.STRIPE_API_BASE = stripe.url.replace("http", "https")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return stripe


def test_netrc_does_not_replace_the_key(stripe_with_tls, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    key = random_api_key()

    assert verify(key).verification == "verified"
    assert stripe_with_tls.keys == [key]
