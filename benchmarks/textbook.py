"""The update call like in a textbook. For comparison; never deploy it.

simplejwt loads the user, a permission class reads the membership, a ModelSerializer validates, the
whole row is loaded, decrypted and saved, and the ORM inserts the audit record.
"""

import os
from typing import Any, ClassVar

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.textbook_settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

import fernet_fields
from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone
from rest_framework import permissions, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.authentication import JWTAuthentication

from workspaces.models import Membership, Workspace


class StripeConnection(models.Model):
    """The product's table, with the encrypted fields of django-fernet-fields."""

    biz_id = models.CharField(max_length=64, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+")
    connection_name = models.CharField(max_length=128)
    connection_description = models.CharField(max_length=1000, null=True)
    stripe_account_id = models.CharField(max_length=255, null=True)
    api_key = fernet_fields.EncryptedTextField(null=True)
    webhook_secret = fernet_fields.EncryptedTextField(null=True)
    partner_endpoint = models.URLField(max_length=2048, null=True)
    config_json = models.TextField(null=True)
    status = models.PositiveSmallIntegerField(choices=[(0, "INACTIVE"), (1, "ACTIVE")])
    version = models.PositiveBigIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "benchmarks"
        managed = False
        db_table = "stripe_connections_stripeconnection"


class ConnectionSerializer(serializers.ModelSerializer[StripeConnection]):
    bizId = serializers.CharField(source="biz_id", read_only=True)
    tenantBizId = serializers.CharField(source="workspace.tenant.biz_id", read_only=True)
    connectionName = serializers.CharField(source="connection_name", max_length=128)
    connectionDescription = serializers.CharField(
        source="connection_description", max_length=1000, allow_null=True, allow_blank=True
    )
    stripeAccountId = serializers.CharField(source="stripe_account_id", allow_null=True)
    apiKey = serializers.CharField(source="api_key", max_length=255, write_only=True)
    webhookSecret = serializers.CharField(source="webhook_secret", max_length=255, write_only=True)
    partnerEndpoint = serializers.URLField(source="partner_endpoint", allow_null=True)
    configJson = serializers.CharField(source="config_json", allow_null=True)
    statusName = serializers.CharField(source="get_status_display", read_only=True)
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)

    class Meta:
        model = StripeConnection
        fields: ClassVar = [
            "bizId",
            "tenantBizId",
            "connectionName",
            "connectionDescription",
            "stripeAccountId",
            "apiKey",
            "webhookSecret",
            "partnerEndpoint",
            "configJson",
            "status",
            "statusName",
            "createdAt",
            "updatedAt",
        ]
        read_only_fields: ClassVar = ["status"]


class CanManageWorkspace(permissions.BasePermission):
    """The caller must be a manager of the workspace in the path."""

    def has_permission(self, request: Request, view: Any) -> bool:
        view.membership = (
            Membership.objects.select_related("workspace")
            .filter(
                user_id=request.user.pk,
                workspace__biz_id=view.kwargs["workspace_id"],
                workspace__is_active=True,
                role="manager",
            )
            .first()
        )
        return view.membership is not None


class ConnectionViewSet(viewsets.GenericViewSet[StripeConnection]):
    authentication_classes = (JWTAuthentication,)
    permission_classes = (CanManageWorkspace,)
    serializer_class = ConnectionSerializer
    queryset = StripeConnection.objects.select_related("workspace__tenant")

    @transaction.atomic
    def update_connection(self, request: Request, workspace_id: str) -> Response:
        connection = get_object_or_404(
            self.get_queryset().select_for_update(of=("self",)),
            workspace__biz_id=workspace_id,
            biz_id=request.data["connectionBizId"],
        )
        serializer = self.get_serializer(connection, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        serializer.save(version=connection.version + 1)
        LogEntry.objects.create(
            content_type=ContentType.objects.get_by_natural_key(
                "stripe_connections", "stripeconnection"
            ),
            object_pk=str(connection.pk),
            object_id=connection.pk,
            object_repr=connection.biz_id,
            action=LogEntry.Action.UPDATE,
            changes=sorted(serializer.validated_data),
            actor=request.user,
        )
        return Response(
            {
                "version": "1.3.0",
                "timestamp": int(timezone.now().timestamp() * 1000),
                "success": True,
                "code": "2000",
                "message": "SUCCESS",
                "data": serializer.data,
            }
        )


urlpatterns = [
    path(
        "web/v1/workspaces/<str:workspace_id>/stripe/connections/update",
        ConnectionViewSet.as_view({"post": "update_connection"}),
    )
]
