"""Paths under /web/v1/auth/."""

from django.urls import path

from workspaces.views import TokenViewSet

urlpatterns = [
    path("token", TokenViewSet.as_view({"post": "obtain"})),
    path("token/refresh", TokenViewSet.as_view({"post": "refresh"})),
]
