"""Who is calling: from the bearer token to the user, and to the membership in the same query."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Field, QuerySet
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from config import prepared
from config.prepared import PreparedSelect
from config.web_chain.parsers import is_bad_text
from workspaces import business_ids
from workspaces.models import Membership, Tenant, Workspace
from workspaces.tokens import AccessToken

BEARER_PARTS = 2
MEMBERSHIP_COLUMNS = (
    "pk",
    "role",
    "user",
    "user__username",
    "user__password",
    "workspace",
    "workspace__biz_id",
    "workspace__tenant",
    "workspace__tenant__biz_id",
)


class JWTAuthentication(BaseAuthentication):
    """`Authorization: Bearer <jwt>`.

    `request.auth` is the caller's membership in the active workspace that the path names, or
    None. Whatever is wrong with the token or its user gives one and the same 401.
    """

    def authenticate(self, request: Request) -> tuple[User, Membership | None] | None:
        """The user and the membership; None where no bearer token was sent."""
        # Not `request.headers`, which is made from all of them; the bytes as WSGI hands them over.
        parts = request.META.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace").split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != BEARER_PARTS:
            raise AuthenticationFailed
        try:
            token = AccessToken(parts[1])
            workspace_id = request.parser_context["kwargs"].get("workspace_id", "")
            membership = (
                self.membership(request, user_id=user_id(token), workspace_id=workspace_id)
                if business_ids.is_well_formed("ws", workspace_id)
                else None
            )
            user = membership.user if membership else load_user(token)
            token.verify_password_unchanged(user)
        except TokenError:
            raise AuthenticationFailed from None
        return user, membership

    def membership(self, request: Request, **who: Any) -> Membership | None:
        """The membership of `user_id` in `workspace_id`, both of them active, in one query."""
        row = _membership(api_settings.USER_ID_FIELD).first(**who)
        return membership_of(row) if row else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def load_user(token: Token) -> User:
    """The active user that `token` names; a TokenError where there is none."""
    named = {api_settings.USER_ID_FIELD: user_id(token)}
    user = User.objects.filter(is_active=True, **named).first()
    if user is None:
        raise TokenError("No such user")
    return user


def memberships(user_id: Any, workspace_id: str) -> QuerySet[Membership]:
    """The membership of an active user in an active workspace."""
    return Membership.objects.filter(
        user__is_active=True,
        workspace__biz_id=workspace_id,
        workspace__is_active=True,
        **{f"user__{api_settings.USER_ID_FIELD}": user_id},
    )


def membership_of(row: Sequence[Any]) -> Membership:
    """The membership whose MEMBERSHIP_COLUMNS `row` begins with, user and tenant with it."""
    pk, role, user_pk, username, password, workspace_pk, biz_id, tenant_pk, tenant_biz_id = row[
        : len(MEMBERSHIP_COLUMNS)
    ]
    tenant = prepared.instance(Tenant, ("id", "biz_id"), (tenant_pk, tenant_biz_id))
    workspace = prepared.instance(
        Workspace,
        ("id", "biz_id", "tenant_id"),
        (workspace_pk, biz_id, tenant_pk),
        tenant=tenant,
    )
    user = prepared.instance(User, ("id", "password", "username"), (user_pk, password, username))
    return prepared.instance(
        Membership,
        ("id", "user_id", "workspace_id", "role"),
        (pk, user_pk, workspace_pk, role),
        user=user,
        workspace=workspace,
    )


def stand_in_for_user_id() -> Any:
    """For `PreparedSelect`: a value that fits USER_ID_FIELD."""
    kind = User._meta.get_field(api_settings.USER_ID_FIELD).get_internal_type()
    return "\0" if kind == "CharField" else -1


@lru_cache(maxsize=4)
def _membership(user_id_field: str) -> PreparedSelect:  # noqa: ARG001 - the key of the cache
    return PreparedSelect(
        lambda **who: memberships(**who).values_list(*MEMBERSHIP_COLUMNS),
        user_id=stand_in_for_user_id(),
        workspace_id="\1",
    )


def user_id(token: Token) -> Any:
    """The value that `token` has for the user's id, fit to be looked up; else a TokenError."""
    claim = token.get(api_settings.USER_ID_CLAIM)
    if not isinstance(claim, str | int) or isinstance(claim, bool):
        raise TokenError("Token names no user")
    return _clean_user_id(api_settings.USER_ID_FIELD, claim)


@lru_cache(maxsize=1_000)
def _clean_user_id(field: str, claim: str | int) -> Any:
    """As the field has it. SQLite fails at a number beyond 64 bits, PostgreSQL at NUL."""
    if is_bad_text(str(claim)):
        raise TokenError("Token names no user")
    try:
        value = cast("Field[Any, Any]", User._meta.get_field(field)).clean(claim, None)
    except ValidationError:
        raise TokenError("Token names no user") from None
    # Python reads the digits of any script, signs, and underscores between digits.
    if isinstance(value, int) and not re.fullmatch("[0-9]+", str(claim)):
        raise TokenError("Token names no user")
    return value
