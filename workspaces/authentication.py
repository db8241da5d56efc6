"""Authentication: from the bearer token to the user and the membership, with one query."""

import re
from functools import lru_cache
from typing import Any, NamedTuple, cast

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Field
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from config.web_chain.parsers import find_bad_character
from workspaces import business_ids
from workspaces.models import Tenant, Workspace
from workspaces.tokens import AccessToken

BEARER_PARTS = 2
_workspace_id = business_ids.pattern("ws").fullmatch
# One statement for everything about the caller. The ORM would take four round trips, or spend more
# time building the join than the database needs to execute it.
CALLER = """
SELECT m.role, u.id, u.password, u.username, w.id, w.biz_id, t.id, t.biz_id
FROM workspaces_membership m
JOIN auth_user u ON u.id = m.user_id
JOIN workspaces_workspace w ON w.id = m.workspace_id
JOIN workspaces_tenant t ON t.id = w.tenant_id
WHERE u.{column} = %s AND u.is_active AND w.biz_id = %s AND w.is_active
"""


class Caller(NamedTuple):
    """An active user, an active workspace, and the user's role in it."""

    user: User
    workspace: Workspace
    role: str


class JWTAuthentication(BaseAuthentication):
    """`Authorization: Bearer <jwt>`.

    `request.auth` is the Caller in the workspace of the path, or None if the user is not a member
    or the workspace is inactive. Every fault of the token or its user leads to the same 401.
    """

    def authenticate(self, request: Request) -> tuple[User, Caller | None] | None:
        """The user and the caller; None if no bearer token was sent."""
        # `request.headers` would copy all headers. WSGI decodes them as Latin-1 (PEP 3333).
        parts = request.META.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace").split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != BEARER_PARTS:
            raise AuthenticationFailed
        try:
            token = AccessToken(parts[1])
            workspace_id = request.parser_context["kwargs"].get("workspace_id", "")
            is_valid = _workspace_id(workspace_id)
            caller = find_caller(user_id(token), workspace_id) if is_valid else None
            user = caller.user if caller else load_user(token)
            token.verify_password_unchanged(user)
        except TokenError:
            raise AuthenticationFailed from None
        return user, caller

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def load_user(token: Token) -> User:
    """The active user of `token`; a TokenError if there is none."""
    named = {api_settings.USER_ID_FIELD: user_id(token)}
    user = User.objects.filter(is_active=True, **named).first()
    if user is None:
        raise TokenError("No such user")
    return user


def find_caller(user_id: Any, workspace_id: str) -> Caller | None:
    """The active user as a member of the active workspace, which has its tenant."""
    with connection.cursor() as cursor:
        cursor.execute(_caller_sql(api_settings.USER_ID_FIELD), [user_id, workspace_id])
        row = cursor.fetchone()
    return _caller(row) if row else None


@lru_cache(maxsize=4)
def _caller_sql(field: str) -> str:
    return CALLER.format(column=cast("Field[Any, Any]", User._meta.get_field(field)).column)


@lru_cache(maxsize=1_000)
def _caller(row: tuple[Any, ...]) -> Caller:
    """Cached, because most callers call again, and creating these objects takes 4 % of an update.

    Nothing changes them; a row with another value has other objects.
    """
    role, *values = row
    alias = DEFAULT_DB_ALIAS
    user = User.from_db(alias, ("id", "password", "username"), values[:3])
    workspace = Workspace.from_db(alias, ("id", "biz_id"), values[3:5])
    workspace.tenant = Tenant.from_db(alias, ("id", "biz_id"), values[5:])
    return Caller(user, workspace, role)


def user_id(token: Token) -> Any:
    """The user ID in `token`, in the type of its column; a TokenError if it is not valid."""
    claim = token.get(api_settings.USER_ID_CLAIM)
    if not isinstance(claim, str | int) or isinstance(claim, bool):
        raise TokenError("Token names no user")
    return _clean_user_id(api_settings.USER_ID_FIELD, claim)


@lru_cache(maxsize=1_000)
def _clean_user_id(field: str, claim: str | int) -> Any:
    """The ID in the type of its column. SQLite fails with 65 bits, PostgreSQL with NUL."""
    if find_bad_character(str(claim)):
        raise TokenError("Token names no user")
    try:
        value = cast("Field[Any, Any]", User._meta.get_field(field)).clean(claim, None)
    except ValidationError:
        raise TokenError("Token names no user") from None
    # Python accepts digits of any script, signs, and underscores between digits.
    if isinstance(value, int) and not re.fullmatch("[0-9]+", str(claim)):
        raise TokenError("Token names no user")
    return value
