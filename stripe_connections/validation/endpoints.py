"""The rules for callback URLs: https, and a host that is public according to its name.

Names are not resolved, because DNS changes: the code that calls the URL must resolve the name and
check the address with `is_public_address`.
"""

import re
import unicodedata
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import idna
from django.core.exceptions import ValidationError

from stripe_connections.validation.fields import find_control

MAX_PORT = 65535

# The addresses that are not global unicast in IPv4, from the IANA special-purpose address registry
# (https://www.iana.org/assignments/iana-ipv4-special-registry) and, for multicast, RFC 5771.
# Not `ipaddress.is_global`, whose answers change with the version of Python. Azure:
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
NON_PUBLIC_IPV4 = (
    "0.0.0.0/8",  # this network, RFC 791
    "10.0.0.0/8",  # private, RFC 1918
    "100.64.0.0/10",  # shared address space, RFC 6598
    "127.0.0.0/8",  # loopback, RFC 1122
    "168.63.129.16/32",  # Azure serves its hosts there
    "169.254.0.0/16",  # link local, RFC 3927; clouds serve credentials there
    "172.16.0.0/12",  # private, RFC 1918
    "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
    "192.0.2.0/24",  # documentation, RFC 5737
    "192.88.99.0/24",  # deprecated 6to4 relay anycast, RFC 7526
    "192.168.0.0/16",  # private, RFC 1918
    "198.18.0.0/15",  # benchmarking, RFC 2544
    "198.51.100.0/24",  # documentation, RFC 5737
    "203.0.113.0/24",  # documentation, RFC 5737
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, RFC 1112, and limited broadcast
)
# All of IPv6 outside 2000::/3 is not global unicast (RFC 4291, section 2.4); inside it, these:
# https://www.iana.org/assignments/iana-ipv6-special-registry
GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")
NON_PUBLIC_IPV6 = (
    "2001::/23",  # IETF protocol assignments, RFC 2928; Teredo is 2001::/32
    "2001:db8::/32",  # documentation, RFC 3849
    "3fff::/20",  # documentation, RFC 9637
)
# Names that never leave the machine or the network: RFC 6761, 6762 (and its appendix G), 7686,
# 8375 and 9476, ICANN's reservation of .internal, and what Kubernetes and Linux distributions use.
NON_PUBLIC_SUFFIXES = (
    ".localhost",
    ".localdomain",
    ".local",
    ".internal",
    ".svc",
    ".home.arpa",
    ".home",
    ".corp",
    ".lan",
    ".intranet",
    ".private",
    ".test",
    ".invalid",
    ".alt",
    ".onion",
)

_forbidden = re.compile(r"[\s\\]").search
_networks = [ip_network(text) for text in NON_PUBLIC_IPV4 + NON_PUBLIC_IPV6]
_url = re.compile(r"(?ai:https)://(?P<authority>[^/?]*)(?P<rest>.*)", re.DOTALL)
_authority = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]{1,5}))?")
# RFC 1035, section 2.3.1, with the digits of RFC 1123, section 2.1.
_label = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# A name that IDNA encodes as itself: "--" is not allowed there, except by an encoded label.
_plain_name = re.compile(rf"(?=.{{1,253}}$)(?:(?!..--){_label.pattern}\.)+[a-z]{{2,63}}").fullmatch
# https://url.spec.whatwg.org/#ends-in-a-number-checker
_number = re.compile(r"[0-9]+|0x[0-9a-f]*")


def validate_partner_endpoint(value: str) -> None:
    """An absolute https URL of a public host, without user-info and fragment.

    The ASCII form of the host is checked; the value is stored as it was typed.
    """
    if find_control(value):
        raise ValidationError("Must not contain control characters.", "control_characters")
    if _forbidden(value):
        raise ValidationError(
            "Must not contain white space or backslashes.", "forbidden_characters"
        )
    if "#" in value:
        raise ValidationError("Must not contain a fragment (#).", "has_fragment")
    url = _url.fullmatch(value)
    if not url:
        raise ValidationError("Must be a complete URL that starts with https://.", "not_https")
    if "@" in url["authority"]:
        raise ValidationError("Must not contain a user name or password (@).", "has_user_info")
    if not url["rest"].isascii():
        raise ValidationError("Characters after the host must be ASCII: encode them.", "not_ascii")
    authority = _authority.fullmatch(url["authority"])
    if not authority or not authority["host"]:
        raise ValidationError("The host or the port is malformed.", "malformed_host")
    if authority["port"] and not 0 < int(authority["port"]) <= MAX_PORT:
        raise ValidationError("The port must be between 1 and 65535.", "invalid_port")
    if not _is_public_host(authority["host"]):
        raise ValidationError(
            "The host must be public: a domain name or a public IP address.", "host_not_public"
        )


def is_public_address(address: IPv4Address | IPv6Address) -> bool:
    """Whether `address` is global unicast.

    An IPv4 address inside IPv4-mapped (RFC 4291), NAT64 (RFC 6052) or 6to4 (RFC 3056) IPv6
    decides for it.
    """
    number = int(address)
    if isinstance(address, IPv6Address):
        if number >> 32 in (0xFFFF, 0x64FF9B << 64):
            return is_public_address(IPv4Address(number & 0xFFFFFFFF))
        if number >> 112 == 0x2002:
            return is_public_address(IPv4Address(number >> 80 & 0xFFFFFFFF))
        if address not in GLOBAL_UNICAST_IPV6:
            return False
    return not any(address in network for network in _networks)


@lru_cache(maxsize=1_000)
def _is_public_host(host: str) -> bool:
    """Cached: many connections have the same host, and IDNA takes 0.1 ms."""
    name = host.lower()
    if _plain_name(name):
        return _is_public_name(name)
    try:
        if host.startswith("["):
            address = IPv6Address(host[1:-1])
            return address.scope_id is None and is_public_address(address)
        mapped = idna.uts46_remap(host, std3_rules=False)
        if _looks_like_ipv4(mapped):
            # Only the usual dotted spelling: any other could be mistaken for another address.
            return is_public_address(IPv4Address(host))
        return _is_public_name(idna.encode(mapped).decode().lower())
    except ValueError:  # of ipaddress; the errors of idna are subclasses of ValueError
        return False


def _is_public_name(name: str) -> bool:
    name = name.removesuffix(".")
    labels = name.split(".")
    return (
        len(labels) > 1
        and all(_label.fullmatch(label) for label in labels)
        and not f".{name}".endswith(NON_PUBLIC_SUFFIXES)
    )


def _looks_like_ipv4(host: str) -> bool:
    """Whether the last label is a number, in the digits of any script and any width."""
    last = host.rstrip(".").rpartition(".")[2]
    return _number.fullmatch("".join(map(_ascii_digit, last))) is not None


def _ascii_digit(char: str) -> str:
    digit = unicodedata.digit(char, None)
    return char if digit is None else str(digit)
