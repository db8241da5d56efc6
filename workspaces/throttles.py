"""How often somebody may try to log in."""

import hashlib
from ipaddress import ip_address
from typing import Any, cast

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle


class _TokenThrottle(SimpleRateThrottle):
    """Counts under the rate "token", which `THROTTLE_TOKEN` sets; without a rate it is off."""

    scope = "token"

    def get_rate(self) -> str | None:
        rate = api_settings.DEFAULT_THROTTLE_RATES[self.scope]
        return str(rate) if rate else None

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        counted = self.counted(request)
        if counted is None:
            return None
        # Hashed, because a cache key is short and plain and a user name need not be.
        digest = hashlib.sha256(counted.encode(errors="surrogatepass")).hexdigest()
        return f"{type(self).__name__}:{view.action}:{digest}"

    def counted(self, request: Request) -> str | None:
        """Whose attempts are counted together; None counts nothing."""
        raise NotImplementedError


class AddressThrottle(_TokenThrottle):
    """By client address; NUM_PROXIES says how far X-Forwarded-For is to be believed."""

    def counted(self, request: Request) -> str | None:
        return self.get_ident(request)


class UsernameThrottle(_TokenThrottle):
    """By the user name that is tried, wherever the attempts come from."""

    def counted(self, request: Request) -> str | None:
        name = request.data.get("username") if isinstance(request.data, dict) else None
        return name.casefold() if isinstance(name, str) else None


def client_address(request: HttpRequest) -> str | None:
    """Where `request` comes from, as an IP address, for the login of the admin."""
    address = AddressThrottle().get_ident(cast("Request", request))
    try:
        return str(ip_address(address))
    except ValueError:  # a proxy of another make, which adds a port or a name
        return request.META.get("REMOTE_ADDR")
