"""The token calls, for users who have a password in this service, and the list of workspaces."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404, HttpResponse
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet
from rest_framework_simplejwt.exceptions import TokenError

from config.web_chain.envelope import success_response
from config.web_chain.exceptions import InvalidFieldsError, WebError
from config.web_chain.parsers import json_object, query
from config.web_chain.serializers import DEFAULT_PAGE
from workspaces.authentication import load_user
from workspaces.models import ROLE_PERMISSIONS, Membership
from workspaces.serializers import (
    CredentialsSerializer,
    RefreshTokenSerializer,
    WorkspacePageSerializer,
)
from workspaces.throttles import TokenThrottle, UserThrottle
from workspaces.tokens import RefreshToken, issues_tokens

PAGE = WorkspacePageSerializer()


class TokenViewSet(ViewSet):
    """Issue a pair of tokens, for a password or for a refresh token.

    Both calls return `{"accessToken", "refreshToken", "expiresIn"}`, the last in seconds. They are
    404 if an identity provider issues the tokens.
    """

    http_method_names = ["post"]
    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (TokenThrottle,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """404 if an identity provider issues the tokens, before anything is counted or checked."""
        if not issues_tokens():
            raise Http404
        super().initial(request, *args, **kwargs)

    def obtain(self, request: Request) -> HttpResponse:
        """Exchange a user name and a password for a pair of tokens.

        An unknown or inactive user takes the same time as a wrong password, because Django hashes
        the given password for them, too.
        """
        credentials = CredentialsSerializer().run_validation(json_object(request))
        # Django's `authenticate` would also call django-axes, which would count these attempts a
        # second time.
        user = ModelBackend().authenticate(request._request, **credentials)
        if not isinstance(user, User):
            raise WebError(401, "Invalid username or password")
        return _pair(user)

    def refresh(self, request: Request) -> HttpResponse:
        """Exchange a refresh token for a new pair; the old one is no longer valid."""
        body = RefreshTokenSerializer().run_validation(json_object(request))
        try:
            token = RefreshToken(body["refreshToken"])
            user = load_user(token)
            token.verify_password_unchanged(user)
            with transaction.atomic():
                token.spend(user)
        except TokenError:
            raise WebError(401) from None
        return _pair(user)


def _pair(user: User) -> HttpResponse:
    refresh = RefreshToken.for_user(user)
    access = refresh.access_token
    return success_response(
        {
            "accessToken": str(access),
            "refreshToken": str(refresh),
            "expiresIn": int(access.lifetime.total_seconds()),
        }
    )


class WorkspaceViewSet(ViewSet):
    """The workspaces that the caller can use, and what the caller may do there."""

    http_method_names = ["get"]
    permission_classes = (IsAuthenticated,)
    throttle_classes = (UserThrottle,)

    def list_workspaces(self, request: Request) -> HttpResponse:
        """A page of the caller's memberships in active workspaces, oldest workspace first."""
        page = {"limit": DEFAULT_PAGE} | PAGE.run_validation(query(request))
        own = Membership.objects.filter(user=request.user.pk)
        found = own.filter(workspace__is_active=True).select_related("workspace__tenant")
        if "after" in page:
            last = own.filter(workspace__biz_id=page["after"]).first()
            if last is None:
                raise InvalidFieldsError.of("after", "not_found", "No such workspace.")
            found = found.filter(workspace_id__gt=last.workspace_id)
        # One more row shows whether there is a next page.
        rows = list(found.order_by("workspace_id")[: page["limit"] + 1])
        items = [_workspace_data(membership) for membership in rows[: page["limit"]]]
        is_last = len(items) == len(rows)
        return success_response(
            {"items": items, "nextAfter": None if is_last else items[-1]["bizId"]}
        )


def _workspace_data(membership: Membership) -> dict[str, Any]:
    workspace = membership.workspace
    return {
        "bizId": workspace.biz_id,
        "name": workspace.name,
        "tenantBizId": workspace.tenant.biz_id,
        "tenantName": workspace.tenant.name,
        "role": membership.role,
        "permissions": sorted(ROLE_PERMISSIONS[membership.role]),
    }
