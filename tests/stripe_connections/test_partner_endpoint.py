"""A partner endpoint must use https, in a spelling that all parsers agree on."""

import pytest
from django.core.exceptions import ValidationError

from stripe_connections.validation.endpoints import validate_partner_endpoint

MALFORMED_URLS = [
    "example.com",
    "//example.com/",
    "/path",
    "https:",
    "https:/example.com",
    "https:example.com",
    "https://",
    "https:///path",
    "https://?query",
    "https://:443/",
    "http://example.com/",
    "HTTP://example.com/",
    "ftp://example.com/",
    "javascript://example.com/",
    "wss://example.com/",
    "httpss://example.com/",
    "xhttps://example.com/",
    "https//example.com/",
    "ｈttps://example.com/",
    "https：//example.com/",
    "https://example.com:/",
    "https://example.com:",
    "https://example.com:0/",
    "https://example.com:00000/",
    "https://example.com:65536/",
    "https://example.com:99999",
    "https://example.com:443443/",
    "https://example.com:-1/",
    "https://example.com:+443/",
    "https://example.com:0x1bb/",
    "https://example.com:４４３/",
    "https://example.com:https/",
    "https://example.com:443:443/",
    "https://[2606:4700::1]443/",
    "https://[2606:4700::1]:/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://:@example.com/",
    "https://example.com@evil.example/",
    "https://example.com:443@evil.example/",
    "https://user%40example.com/",
    "https://example.com#",
    "https://example.com/#",
    "https://example.com/#fragment",
    "https://example.com/?a#b",
    "https://example.com/a b",
    "https://example.com/?a b",
    "https:// example.com/",
    "https://exa mple.com/",
    "https://example.com /",
    "https://example.com/a\tb",
    "https://example.com/a\nb",
    "https://exa\r\nmple.com/",
    "https://example.com/\u00a0",
    "https://example.com/\u2028",
    "https://exam\u3000ple.com/",
    "https://example.com\\@evil.example/",
    "https:\\\\example.com/",
    "https://example.com/a\\b",
    "https://example.com/\x01",
    "https://example.com/\x7f",
    "https://example.com/\x85",
    "https://exam\x1fple.com/",
    "https://example.com/é",
    "https://example.com/?ü=1",
    "https://example.com/\u200b",
    "https://example.com/\u202e",
    "https://example.com/１",
]
SOUND_URLS = [
    "https://example.com",
    "HTTPS://example.com",
    "hTTps://example.com/",
    "https://example.com?query",
    "https://example.com/?",
    "https://example.com:1/",
    "https://example.com:443",
    "https://example.com:65535/",
    "https://[2606:4700:4700::1111]:8443/hook",
    "https://bücher.example:8443/hook",
    "https://example.com//a/../b;c=d/@user:me?next=https://x.example/&a[]=1%20%23",
    "https://example.com/" + "a" * 2_028,
]


def code_of(url):
    """Return the code of the error; None if the URL passes."""
    try:
        validate_partner_endpoint(url)
    except ValidationError as refusal:
        return refusal.code
    return None


def test_sound_urls_pass():
    assert {url: code_of(url) for url in SOUND_URLS} == dict.fromkeys(SOUND_URLS)


def test_malformed_urls_are_refused():
    found = {url: code_of(url) for url in MALFORMED_URLS}

    assert [url for url, code in found.items() if code is None] == []
    assert set(found.values()) <= {code for _, code in FAULTS}


FAULTS = [
    ("https://user@example.com/", "has_user_info"),
    ("https://example.com/#", "has_fragment"),
    ("https://example.com/a b", "forbidden_characters"),
    ("https://example.com/a\\b", "forbidden_characters"),
    ("https://example.com/\x01", "control_characters"),
    ("http://example.com/", "not_https"),
    ("partner.example.com", "not_https"),
    ("https://example.com:/", "malformed_host"),
    ("https://", "malformed_host"),
    ("https://example.com:0/", "invalid_port"),
    ("https://example.com/é", "not_ascii"),
    ("https://localhost/", "host_not_public"),
    ("https://a..example/", "host_not_public"),
]


def test_each_fault_has_a_code():
    assert [(url, code_of(url)) for url, _ in FAULTS] == FAULTS


def update(client, url):
    return client.update({"connectionBizId": "sc_abc123", "partnerEndpoint": url}).json()


def test_endpoint_is_returned_as_typed(manager, connection):
    urls = [
        "https://bücher.example/hook", "https://xn--bcher-kva.example/hook", "HTTPS://Example.COM",
    ]  # fmt: skip

    assert [update(manager, url)["data"]["partnerEndpoint"] for url in urls] == urls


@pytest.mark.only_on("sqlite", reason="bad values do not reach the database")
@pytest.mark.usefixtures("untouched")
def test_refusal_names_the_field_and_not_the_url(manager):
    urls = [
        "http://example.com/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "https://2852039166/",
        "https://１６９.２５４.１６９.２５４/",
        "https://localhost./",
        "https://db.internal/",
        "https://user:password@example.com/",
        "https://example.com/#",
    ]

    found = {url: update(manager, url)["errors"] for url in urls}

    fields = {url: tuple(error["field"] for error in errors) for url, errors in found.items()}
    assert fields == dict.fromkeys(urls, ("partnerEndpoint",))
    assert [url for url, [error] in found.items() if url in error["message"]] == []
