"""Paths under /web/v1/workspaces/<workspace_id>/, and the permissions that they need."""

from django.urls import path

from stripe_connections.api.views import StripeConnectionViewSet as ViewSet
from workspaces.permissions import CanReadWorkspace

READ = {"permission_classes": (CanReadWorkspace,)}

urlpatterns = [
    path("stripe/connections", ViewSet.as_view({"get": "list_connections"}, **READ)),
    path("stripe/connections/create", ViewSet.as_view({"post": "create_connection"})),
    path("stripe/connections/status", ViewSet.as_view({"post": "set_status"})),
    path("stripe/connections/update", ViewSet.as_view({"post": "update_connection"})),
    path("stripe/connections/verify", ViewSet.as_view({"post": "verify_connection"})),
    path("stripe/connections/restore", ViewSet.as_view({"post": "restore_secret"})),
    # After the fixed paths. An ID begins with "sc_".
    path(
        "stripe/connections/<str:connection_biz_id>",
        ViewSet.as_view({"get": "get_connection"}, **READ),
    ),
    path(
        "stripe/connections/<str:connection_biz_id>/history",
        ViewSet.as_view({"get": "get_history"}),
    ),
]
