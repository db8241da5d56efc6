"""Paths under /web/v1/: the tokens, and the list of workspaces."""

from django.urls import path

from workspaces.views import TokenViewSet, WorkspaceViewSet

urlpatterns = [
    path("auth/token", TokenViewSet.as_view({"post": "obtain"})),
    path("auth/token/refresh", TokenViewSet.as_view({"post": "refresh"})),
    path("workspaces", WorkspaceViewSet.as_view({"get": "list_workspaces"})),
]
