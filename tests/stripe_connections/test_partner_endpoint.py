"""A partner endpoint must use https and a public host, in a spelling that all parsers agree on."""

from ipaddress import ip_address

import pytest
from django.core.exceptions import ValidationError

from stripe_connections.validation.endpoints import is_public_address, validate_partner_endpoint

PUBLIC_HOSTS = [
    "example.com",
    "EXAMPLE.Com",
    "example.com.",
    "a.b.c.d.example.com",
    "1.example.com",
    "127.0.0.1.example.com",
    "1e100.net",
    "example.c0m",
    "x-y.example",
    "local.example.com",
    "localhost.example.com",
    "internal.example",
    "notlocal.example",
    "mylocalhost.example",
    "home.example",
    "a.smarthome",
    "a.contest",
    "a.mysvc",
    "home.arpa.example",
    "bücher.example",
    "BÜCHER.example",
    "xn--bcher-kva.example",
    "XN--BCHER-KVA.example",
    "bücher。example",
    "faß.example",
    "ｅｘａｍｐｌｅ.com",
    "例え.テスト",
    "a" * 63 + ".example",
    ".".join(["a" * 63] * 3 + ["a" * 61]),
    ".".join(["a" * 63] * 3 + ["a" * 61]) + ".",
    "8.8.8.8",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "[2606:4700:4700::1111]",
    "[2606:4700:4700:0:0:0:0:1111]",
    "[2A00:1450:4001:81B::200E]",
    "[2001:200::1]",
    "[2001:4860:4860::8888]",
    "[3ffe::1]",
    "[3fff:1000::1]",
    "[::ffff:8.8.8.8]",
    "[::ffff:808:808]",
    "[64:ff9b::8.8.8.8]",
    "[2002:808:808::1]",
]
# The first and last address of each refused network, and other important ones.
NON_PUBLIC_ADDRESSES = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.8",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
NON_PUBLIC_IPV6_HOSTS = [
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::127.0.0.1]",
    "[::8.8.8.8]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b:1::1]",
    "[64:ff9b:1::8.8.8.8]",
    "[100::1]",
    "[100:0:0:1::1]",
    "[1fff:ffff::1]",
    "[2001::1]",
    "[2001:0:808:808::f7f7:f7f7]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:1ff:ffff::1]",
    "[2001:db8::1]",
    "[2001:DB8:ffff::]",
    "[3fff::1]",
    "[3fff:fff:ffff::1]",
    "[4000::1]",
    "[5f00::1]",
    "[fc00::1]",
    "[fdff::1]",
    "[fe80::1]",
    "[fe80::1%eth0]",
    "[fe80::1%25eth0]",
    "[2606:4700:4700::1111%eth0]",
    "[fec0::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
]
ODD_SPELLINGS = [
    # An address that is not public, in a spelling that a resolver or a browser accepts.
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.1",
    "127.0.1",
    "127.0.0.0x1",
    "127.0.0.1.",
    "127.0.0.1..",
    "127.0.0.01",
    "0",
    "0x",
    "0.0",
    "00000.0.0.0",
    "10.1",
    "192.168.257",
    "169.254.43518",
    "2852039166",
    "0xa9fea9fe",
    "127.0.0.256",
    "1.2.3.4.5",
    "999999999999",
    "４.１２７",
    "１２７.0.0.1",
    "１２７．０．０．１",
    "127。0。0。1",
    "127｡0｡0｡1",
    "127․0․0․1",
    "①②⑦.⓪.⓪.①",
    "¹²⁷.⁰.⁰.¹",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "١٢٧.٠.٠.١",
    "१२७.०.०.१",
    "127.0.0.١",
    "0ｘ7f.1",
    "127.0.0.1\u00ad",
    "127.0.\u200b0.1",
    "%31%32%37.0.0.1",
    "127.0.0.%31",
    "127%2e0%2e0%2e1",
    "[127.0.0.1]",
    # A public address in an unusual spelling.
    "0x08080808",
    "134744072",
    "8.8.2056",
    "010.8.8.8",
    "8.8.8.8.",
    "８.８.８.８",
    "8。8。8。8",
    "[8.8.8.8]",
    # Not an address.
    "[]",
    "[::1",
    "::1",
    "[:::1]",
    "[::1]]",
    "[[::1]]",
    "[::1].example.com",
    "[1::2::3]",
    "[12345::1]",
    "[::ffff:127.0.0.01]",
    "[::ffff:１２７.0.0.1]",
    "[２６０６:4700::1]",
    "[v1.fe80]",
    "[example.com]",
]
NON_PUBLIC_SUFFIXES = [
    ".localhost", ".localdomain", ".local", ".internal", ".svc", ".home.arpa", ".home", ".corp",
    ".lan", ".intranet", ".private", ".test", ".invalid", ".alt", ".onion",
]  # fmt: skip
NON_PUBLIC_NAMES = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ｌｏｃａｌｈｏｓｔ",
    "com",
    "intranet",
    "bücher",
    *(f"a{suffix}{dot}" for suffix in NON_PUBLIC_SUFFIXES for dot in ("", ".")),
    "home.arpa",
    "home.arpa.",
    "a.LOCAL",
    "a.Internal",
    "metadata.google.internal",
    "db.default.svc.cluster.local",
    "ü.local",
    "a.ｌocal",
    "a。local",
    "a.local。",
    "a．internal",
    "a.loc\u00adal",
    "a.ⓛocal",
]
NO_DNS_NAMES = [
    ".",
    "..",
    ".example.com",
    "example..com",
    "example.com..",
    "example.com。.",
    "-a.example",
    "a-.example",
    "a_b.example",
    "ab--c.example",
    "a" * 64 + ".example",
    ".".join(["a" * 63] * 3 + ["a" * 62]),
    "ü" * 60 + ".example",
    ".".join(["a"] * 128),
    "a" * 2_000,
    "ü." * 900 + "example",
    "xn--.example",
    "xn--a.example",
    "xn--\u00fc.example",
    "xn--bcher-kva-.example",
    "a\u200d.example",
    "a\u0300\u200c.example",
    "\u0300a.example",
    "אa1ב.example",
    "☃.example",
    "💩.example",
    "a\u202e.example",
    "exa$mple.com",
    "exa%6dple.com",
    "exa*mple.com",
    "*.example.com",
    "exa,mple.com",
    "exa'mple.com",
    "exa|mple.com",
    "exa<mple.com",
    "exa^mple.com",
    "exa`mple.com",
    "{example}.com",
    "example.com／path",
    "example.com？query",
    "example.com＃fragment",
    "example.com：443",
    "user＠example.com",
    "example.com＼",
    "℀.example.com",
]
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


def host_url(host):
    return f"https://{host}/hook"


# Test IDs in ASCII, because a terminal may not be able to show every script.
def numbered(cases):
    return [pytest.param(case, id=f"{n}-{ascii(case)[1:31]}") for n, case in enumerate(cases)]


@pytest.mark.parametrize("host", numbered(PUBLIC_HOSTS))
def test_public_host_passes(host):
    validate_partner_endpoint(host_url(host))


@pytest.mark.parametrize("url", numbered(SOUND_URLS))
def test_sound_url_passes(url):
    validate_partner_endpoint(url)


@pytest.mark.parametrize(
    "host",
    numbered(
        [
            *NON_PUBLIC_ADDRESSES,
            *NON_PUBLIC_IPV6_HOSTS,
            *ODD_SPELLINGS,
            *NON_PUBLIC_NAMES,
            *NO_DNS_NAMES,
        ]
    ),
)
def test_other_host_is_refused(host):
    with pytest.raises(ValidationError) as refusal:
        validate_partner_endpoint(host_url(host))

    assert refusal.value.code in {code for _, code in FAULTS}


@pytest.mark.parametrize("port", [":443", ":8443", ":1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "a.internal", "2130706433"])
def test_port_does_not_make_a_host_public(host, port):
    with pytest.raises(ValidationError, match="host must be public"):
        validate_partner_endpoint(host_url(host + port))


@pytest.mark.parametrize("url", numbered(MALFORMED_URLS))
def test_malformed_url_is_refused(url):
    with pytest.raises(ValidationError) as refusal:
        validate_partner_endpoint(url)

    assert refusal.value.code in {code for _, code in FAULTS}


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


@pytest.mark.parametrize(("url", "code"), FAULTS)
def test_each_fault_has_a_code(url, code):
    with pytest.raises(ValidationError) as refusal:
        validate_partner_endpoint(url)

    assert refusal.value.code == code


@pytest.mark.parametrize(
    "wrapped",
    ["[::ffff:{0}]", "[64:ff9b::{0}]", "[0:0:0:0:0:ffff:{0}]", "[0064:ff9b:0:0:0:0:{0}]"],
)
@pytest.mark.parametrize("address", NON_PUBLIC_ADDRESSES)
def test_non_public_ipv4_address_inside_ipv6_is_refused(wrapped, address):
    with pytest.raises(ValidationError, match="host must be public"):
        validate_partner_endpoint(host_url(wrapped.format(address)))


@pytest.mark.parametrize("address", NON_PUBLIC_ADDRESSES)
def test_non_public_ipv4_address_inside_6to4_is_refused(address):
    wrapped = ip_address((0x2002 << 112) | (int(ip_address(address)) << 80) | 1)

    with pytest.raises(ValidationError, match="host must be public"):
        validate_partner_endpoint(host_url(f"[{wrapped}]"))


# Code that calls the URL must check the resolved address with this function.
@pytest.mark.parametrize("address", [*NON_PUBLIC_ADDRESSES, "::1", "fe80::1", "::ffff:10.0.0.1"])
def test_resolved_address_is_judged_by_the_same_list(address):
    assert not is_public_address(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_resolved_public_address_passes(address):
    assert is_public_address(ip_address(address))


@pytest.mark.parametrize(
    "url",
    numbered(
        ["https://bücher.example/hook", "https://xn--bcher-kva.example/hook", "HTTPS://Example.COM"]
    ),
)
def test_endpoint_is_returned_as_typed(manager, connection, url):
    response = manager.update({"connectionBizId": "sc_abc123", "partnerEndpoint": url})

    assert response.json()["data"]["partnerEndpoint"] == url


@pytest.mark.parametrize(
    "url",
    numbered(
        [
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
    ),
)
def test_refusal_names_the_field_and_not_the_url(manager, assert_refused, url):
    response = manager.update({"connectionBizId": "sc_abc123", "partnerEndpoint": url})

    [error] = assert_refused(response, 400, "4000")["errors"]
    assert error["field"] == "partnerEndpoint"
    assert url not in error["message"]
