"""Paths of the service."""

from django.urls import include, path

urlpatterns = [
    path("web/v1/auth/", include("workspaces.urls")),
    path("web/v1/workspaces/<str:workspace_id>/", include("stripe_connections.urls")),
]
