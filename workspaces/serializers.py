"""The bodies of the token calls."""

from config.web_chain.serializers import StrictCharField, StrictSerializer

MAX_PASSWORD_LENGTH = 4096


class CredentialsSerializer(StrictSerializer):
    """`{"username", "password"}`, verbatim."""

    username = StrictCharField(trim_whitespace=False)
    password = StrictCharField(trim_whitespace=False, max_length=MAX_PASSWORD_LENGTH)


class RefreshTokenSerializer(StrictSerializer):
    """`{"refreshToken"}`."""

    refreshToken = StrictCharField()
