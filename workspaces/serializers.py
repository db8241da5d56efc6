"""The bodies of the token calls, and the query of the list of workspaces."""

from config.web_chain.serializers import (
    MAX_PAGE,
    NumberField,
    StrictCharField,
    StrictSerializer,
)
from workspaces import business_ids

MAX_PASSWORD_LENGTH = 4096


class CredentialsSerializer(StrictSerializer):
    """`{"username", "password"}`, verbatim."""

    username = StrictCharField(trim_whitespace=False)
    password = StrictCharField(trim_whitespace=False, max_length=MAX_PASSWORD_LENGTH)


class RefreshTokenSerializer(StrictSerializer):
    """`{"refreshToken"}`."""

    refreshToken = StrictCharField()


class WorkspacePageSerializer(StrictSerializer):
    """The query of the list of workspaces."""

    limit = NumberField(required=False, highest=MAX_PAGE)
    after = StrictCharField(required=False, max_length=business_ids.MAX_LENGTH)
