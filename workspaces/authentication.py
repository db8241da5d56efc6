"""Who is calling: from the bearer token to the user, and to the membership in the same query."""

from functools import lru_cache
from typing import Any, cast

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Field, QuerySet
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from config.prepared import PreparedSelect
from config.web_chain.parsers import is_bad_text
from workspaces import business_ids
from workspaces.models import Membership
from workspaces.tokens import AccessToken

BEARER_PARTS = 2


class JWTAuthentication(BaseAuthentication):
    """`Authorization: Bearer <jwt>`.

    `request.auth` is the caller's membership in the active workspace that the path names, or
    None. Whatever is wrong with the token or its user gives one and the same 401.
    """

    def authenticate(self, request: Request) -> tuple[User, Membership | None] | None:
        """The user and the membership; None where no bearer token was sent."""
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != BEARER_PARTS:
            raise AuthenticationFailed
        try:
            token = AccessToken(parts[1])
            user, membership = load_caller(token, request.parser_context["kwargs"])
            token.verify_password_unchanged(user)
        except TokenError:
            raise AuthenticationFailed from None
        return user, membership

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def load_caller(token: Token, path_arguments: dict[str, Any]) -> tuple[User, Membership | None]:
    """The active user that `token` names, and the membership in the workspace of the path.

    One query for a member; a second one finds the user who is no member. Raises a TokenError
    where there is no such user.
    """
    claimed_id = user_id(token)
    workspace_id = path_arguments.get("workspace_id", "")
    if business_ids.is_well_formed("ws", workspace_id):
        membership = _membership(api_settings.USER_ID_FIELD).first(
            user_id=claimed_id, workspace_id=workspace_id
        )
        if membership:
            return membership.user, membership
    user = User.objects.filter(is_active=True, **{api_settings.USER_ID_FIELD: claimed_id}).first()
    if user is None:
        raise TokenError("No such user")
    return user, None


@lru_cache(maxsize=4)
def _membership(user_id_field: str) -> PreparedSelect[Membership]:
    """The membership of an active user in an active workspace, with what an update needs."""

    def build(user_id: Any, workspace_id: str) -> QuerySet[Membership]:
        return (
            Membership.objects.filter(
                user__is_active=True,
                workspace__biz_id=workspace_id,
                workspace__is_active=True,
                **{f"user__{user_id_field}": user_id},
            )
            .select_related("user", "workspace__tenant")
            .only("role", "user__username", "user__password", "workspace__tenant__biz_id")
        )

    kind = User._meta.get_field(user_id_field).get_internal_type()
    stand_in = "\0" if kind == "CharField" else -1
    return PreparedSelect(build, user_id=stand_in, workspace_id="\1")


def user_id(token: Token) -> Any:
    """The value that `token` has for the user's id, fit to be looked up; else a TokenError.

    A number beyond 64 bits would be an error of SQLite's, NUL one of PostgreSQL's.
    """
    claim = token.get(api_settings.USER_ID_CLAIM)
    if not isinstance(claim, str | int) or isinstance(claim, bool) or is_bad_text(str(claim)):
        raise TokenError("Token names no user")
    try:
        return cast("Field[Any, Any]", User._meta.get_field(api_settings.USER_ID_FIELD)).clean(
            claim, None
        )
    except ValidationError:
        raise TokenError("Token names no user") from None
