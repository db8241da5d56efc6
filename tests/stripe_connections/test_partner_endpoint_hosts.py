"""The host of a partner endpoint must be public, in a spelling that all parsers agree on."""

from ipaddress import ip_address

import pytest

from stripe_connections.validation.endpoints import is_public_address
from tests.stripe_connections.test_partner_endpoint import FAULTS, code_of

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


def host_url(host):
    return f"https://{host}/hook"


def passing(hosts):
    """Return the hosts that pass."""
    return [host for host in hosts if code_of(host_url(host)) is None]


def test_public_hosts_pass():
    assert passing(PUBLIC_HOSTS) == PUBLIC_HOSTS


@pytest.mark.parametrize(
    "hosts",
    [NON_PUBLIC_ADDRESSES, NON_PUBLIC_IPV6_HOSTS, ODD_SPELLINGS, NON_PUBLIC_NAMES, NO_DNS_NAMES],
    ids=["addresses", "IPv6", "odd spellings", "names", "no DNS names"],
)
def test_other_hosts_are_refused(hosts):
    assert passing(hosts) == []
    assert {code_of(host_url(host)) for host in hosts} <= {code for _, code in FAULTS}


@pytest.mark.parametrize("port", [":443", ":8443", ":1"])
def test_port_does_not_make_a_host_public(port):
    hosts = ["127.0.0.1", "[::1]", "localhost", "a.internal", "2130706433"]
    found = {host: code_of(host_url(host + port)) for host in hosts}

    assert found == dict.fromkeys(hosts, "host_not_public")


@pytest.mark.parametrize(
    "wrapped",
    ["[::ffff:{0}]", "[64:ff9b::{0}]", "[0:0:0:0:0:ffff:{0}]", "[0064:ff9b:0:0:0:0:{0}]"],
)
def test_non_public_ipv4_addresses_inside_ipv6_are_refused(wrapped):
    found = {each: code_of(host_url(wrapped.format(each))) for each in NON_PUBLIC_ADDRESSES}

    assert found == dict.fromkeys(NON_PUBLIC_ADDRESSES, "host_not_public")


def test_non_public_ipv4_addresses_inside_6to4_are_refused():
    def wrapped(address):
        return f"[{ip_address((0x2002 << 112) | (int(ip_address(address)) << 80) | 1)}]"

    found = {each: code_of(host_url(wrapped(each))) for each in NON_PUBLIC_ADDRESSES}

    assert found == dict.fromkeys(NON_PUBLIC_ADDRESSES, "host_not_public")


# Code that calls the URL must check the resolved address with this function.
def test_resolved_addresses_are_judged_by_the_same_list():
    addresses = [*NON_PUBLIC_ADDRESSES, "::1", "fe80::1", "::ffff:10.0.0.1"]

    assert [each for each in addresses if is_public_address(ip_address(each))] == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_resolved_public_address_passes(address):
    assert is_public_address(ip_address(address))
