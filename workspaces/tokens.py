"""simplejwt's tokens, which raise a TokenError for every malformed content."""

import time
from functools import lru_cache
from typing import Any, Self

import jwt
from django.contrib.auth.models import User
from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from config.web_chain.exceptions import WebError
from config.web_chain.parsers import find_bad_character

JWKS_TIMEOUT_SECONDS = 3
# After a failed fetch, and before an unknown key id may cause another one.
JWKS_PAUSE_SECONDS = 10
# The type of a key (RFC 7518, section 6.1), by the beginning of its algorithm's name.
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
# The length of simplejwt's column for a token's ID.
MAX_ID_LENGTH = 255
# The number of verified tokens that a process remembers.
VERIFIED_TOKENS = 1_000


class JWKSClient(jwt.PyJWKClient):
    """PyJWT's client, but it keeps the known keys while the endpoint is down.

    An unknown key ID leads to a new fetch, so that the provider can rotate its keys, but at most
    every 10 seconds, so that invented IDs cause no flood of requests.
    """

    def __init__(self, url: str, algorithm: str) -> None:
        super().__init__(url, timeout=JWKS_TIMEOUT_SECONDS, cooldown_duration=JWKS_PAUSE_SECONDS)
        self._algorithm = algorithm
        self._last_good: Any = None
        self._failed_at = float("-inf")

    @property
    def is_down(self) -> bool:
        """Whether the last fetch failed within the last 10 seconds."""
        return time.monotonic() - self._failed_at < JWKS_PAUSE_SECONDS

    def fetch_data(self) -> Any:
        """The endpoint's keys, or the last known ones; a 503 if there are none."""
        if not self.is_down:
            try:
                data = super().fetch_data()
            except (jwt.PyJWTError, ValueError, OSError, TypeError, RecursionError):
                self._failed_at = time.monotonic()
            else:
                self._last_good = data
                return data
        if self._last_good is None:
            raise WebError(503)
        return self._last_good

    def get_signing_keys(self, refresh: bool = False) -> list[jwt.PyJWK]:
        """The keys for JWT_ALGORITHM, because keys of several algorithms may have the same ID."""
        fitting = [
            key
            for key in self.get_jwk_set(refresh).keys
            if key.public_key_use in {"sig", None}
            and key.key_type == KEY_TYPES[self._algorithm[:2]]
        ]
        # PyJWT guesses the algorithm of a key that does not declare one.
        return sorted(fitting, key=lambda key: key.algorithm_name != self._algorithm)

    @staticmethod
    def match_kid(signing_keys: list[jwt.PyJWK], kid: str | None) -> jwt.PyJWK | None:
        """The key with this ID; for a token without one, the only key."""
        if kid is None:
            return signing_keys[0] if len(signing_keys) == 1 else None
        return jwt.PyJWKClient.match_kid(signing_keys, kid)


class Backend(TokenBackend):
    """simplejwt's backend, with `JWKSClient` if an identity provider has a JWKS endpoint."""

    def __init__(self, *, jwk_url: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.jwks_client = JWKSClient(jwk_url, self.algorithm) if jwk_url else None
        self._verified = lru_cache(VERIFIED_TOKENS)(super().decode)

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """The claims of `token`; its signature is verified only the first time.

        A client sends the same token for minutes, and verifying it takes a tenth of an update.
        Later, only its times can make it invalid. `check_exp` checks the expiry every time; a token
        from the future, which is refused, is only seen again if the clock was put back. Tokens of
        an identity provider with a JWKS endpoint are always verified, because its keys may change.
        """
        if self.jwks_client is None and verify:
            claims = self._verified(token)
            if max(int(claims.get("iat", 0)), int(claims.get("nbf", 0))) <= time.time():
                return dict(claims)
        return super().decode(token, verify)

    def get_verifying_key(self, token: Any) -> Any:
        """The key that must have signed `token`; a 503 if the endpoint is down."""
        try:
            return super().get_verifying_key(token)
        except TokenBackendError:
            if isinstance(self.jwks_client, JWKSClient) and self.jwks_client.is_down:
                raise WebError(503) from None
            raise


def issues_tokens() -> bool:
    """Whether this service issues the tokens, and not an identity provider."""
    return not (api_settings.VERIFYING_KEY or api_settings.JWK_URL)


def backend() -> Backend:
    """The backend for the current settings; one for each set of values."""
    return _backend(
        algorithm=api_settings.ALGORITHM,
        signing_key=api_settings.SIGNING_KEY,
        verifying_key=api_settings.VERIFYING_KEY,
        audience=api_settings.AUDIENCE,
        issuer=api_settings.ISSUER,
        jwk_url=api_settings.JWK_URL,
        leeway=api_settings.LEEWAY,
    )


_backend = lru_cache(maxsize=8)(Backend)


class _Token(tokens.Token):
    """The base of both kinds of token."""

    def __init__(self, token: Any = None, verify: bool = True) -> None:
        try:
            super().__init__(token, verify)
        # Before the signature is checked, PyJWT parses headers of any depth, and then claims of any
        # type and size.
        except (
            jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError,
            OSError, RecursionError,
        ) as error:  # fmt: skip
            raise TokenError("Token is invalid") from error

    def get_token_backend(self) -> Backend:
        return backend()

    def verify_password_unchanged(self, user: User) -> None:
        """Raise a TokenError if the user has changed the password since this token was issued.

        Not for tokens of an identity provider, which does not know the passwords of this service.
        """
        if issues_tokens():
            stamp = self.get(api_settings.REVOKE_TOKEN_CLAIM)
            if stamp != get_md5_hash_password(user.password):
                raise TokenError("The password has been changed")


class AccessToken(_Token, tokens.AccessToken):
    """The token that a caller sends with every request."""

    def verify(self) -> None:
        """An identity provider's token may lack simplejwt's own claims."""
        if issues_tokens():
            super().verify()
        else:
            self.check_exp()
            if self.get(api_settings.TOKEN_TYPE_CLAIM, self.token_type) != self.token_type:
                raise TokenError("Token has wrong type")


class RefreshToken(_Token, tokens.RefreshToken):
    """The token that a caller exchanges for a new pair, once."""

    access_token_class = AccessToken

    def verify(self) -> None:
        """Refuse first an ID that the database cannot look up."""
        token_id = self.get(api_settings.JTI_CLAIM, "")
        if len(token_id) > MAX_ID_LENGTH or find_bad_character(token_id):
            raise TokenError("Token has an ID that cannot be stored")
        super().verify()

    @classmethod
    def for_user(cls, user: Any) -> Self:
        """A new token. simplejwt would store its text in the database."""
        token: Self = tokens.Token.for_user.__func__(cls, user)  # type: ignore[attr-defined]
        return token

    def spend(self, user: User) -> None:
        """Invalidate this token; a TokenError if it is already, also by a parallel request."""
        outstanding, _ = OutstandingToken.objects.get_or_create(
            jti=self[api_settings.JTI_CLAIM],
            defaults={"user": user, "token": "", "expires_at": datetime_from_epoch(self["exp"])},
        )
        _, is_first = BlacklistedToken.objects.get_or_create(token=outstanding)
        if not is_first:
            raise TokenError("Token is blacklisted")
