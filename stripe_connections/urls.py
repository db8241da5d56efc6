"""Paths under /web/v1/workspaces/<workspace_id>/."""

from django.urls import path

from stripe_connections.views import StripeConnectionViewSet

urlpatterns = [
    path(
        "stripe/connections/update",
        StripeConnectionViewSet.as_view({"post": "update_connection"}),
    ),
]
