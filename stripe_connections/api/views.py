"""The calls on a workspace's connections."""

import re
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from config.observability.requests import note_connection, request_id
from config.web_chain.envelope import success_response
from config.web_chain.exceptions import InvalidFieldsError, WebError
from config.web_chain.parsers import json_object, query
from config.web_chain.serializers import DEFAULT_PAGE
from stripe_connections import idempotency, queries, services
from stripe_connections.api import responses, serializers
from stripe_connections.audit import history
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.undo.leaks import LeakedSecretError
from stripe_connections.undo.replaced import RestoreError
from stripe_connections.validation.serializers import API_NAMES
from workspaces.authentication import Caller
from workspaces.models import Workspace
from workspaces.permissions import CanManageWorkspace
from workspaces.throttles import WorkspaceThrottle

STRIPE_UNAVAILABLE = "Stripe did not say whether the key works, try again"
# Every attempt counts: a caller that retries at once soon reaches the limit for an hour.
RETRY_SECONDS = 60

_entity_tag = re.compile(r'\s*(?:W/)?"(0|[1-9][0-9]{0,18})"\s*').fullmatch

# Shared by all requests: `run_validation` stores nothing in a serializer, and Django REST Framework
# would copy every field for a new one, which takes a twentieth of an update's time.
UPDATE = serializers.UpdateConnectionSerializer(partial=True)
SENT_BACK = serializers.SentBackConnectionSerializer(partial=True)
CREATE = serializers.CreateConnectionSerializer()
PAGE = serializers.PageSerializer()
HISTORY_PAGE = serializers.HistoryPageSerializer()
STATUS = serializers.ConnectionStatusSerializer()
VERIFY = serializers.VerifyConnectionSerializer()
RESTORE = serializers.RestoreSecretSerializer()


class StripeConnectionViewSet(ViewSet):
    """The Stripe connections of the workspace in the path.

    A call needs `workspace:manage`, unless urls.py sets another permission.
    """

    http_method_names = ["get", "post"]
    permission_classes = (CanManageWorkspace,)
    throttle_classes = (WorkspaceThrottle,)

    def handle_exception(self, exc: Exception) -> Any:
        """Convert the exceptions of the services to those of the API, for every call."""
        match exc:
            case services.ConnectionNotFoundError():
                exc = WebError(404, "Stripe tenant connection not found")
            case services.VersionConflictError():
                exc = WebError(412)
            case idempotency.KeyReusedError():
                exc = WebError(422)
            case queries.UnknownConnectionError():
                exc = InvalidFieldsError.of("after", "not_found", "No such connection.")
            case verification.VerificationError() | RestoreError():
                name = API_NAMES.get(exc.field, exc.field)
                exc = InvalidFieldsError.of(name, exc.code, exc.message)
            case LeakedSecretError():
                exc = WebError(409)
            case verification.VerificationUnavailableError():
                exc = WebError(503, str(exc) or STRIPE_UNAVAILABLE, wait=RETRY_SECONDS)
            case verification.TooManyAttemptsError():
                exc = Throttled(exc.wait)
            case IntegrityError() if not User.objects.contains(_caller(self.request)["actor"].user):
                # Deleted since the token was checked, so the audit record cannot name the user.
                exc = AuthenticationFailed()
        return super().handle_exception(exc)

    def update_connection(self, request: Request, workspace_id: str) -> HttpResponse:
        """Change the given fields of a connection, and no others.

        Returns the updated connection, with its version in `ETag`. 404 if the workspace has no such
        connection, 412 if `If-Match` does not match.
        """
        body = json_object(request)
        # Only the objects of list and detail contain `extra`.
        is_sent_back = "extra" in body and "bizId" in body and "connectionBizId" not in body
        changes = (SENT_BACK if is_sent_back else UPDATE).run_validation(body)
        keep_seconds = changes.pop("keep_seconds", 0)
        if keep_seconds and "webhook_secret" not in changes:
            message = "webhookSecretKeepSeconds needs a new webhookSecret."
            raise InvalidFieldsError.of("webhookSecret", "required", message)
        return _updated(request, changes, keep_seconds)

    def set_status(self, request: Request, workspace_id: str) -> HttpResponse:
        """Activate or deactivate a connection, which the update call cannot do."""
        return _updated(request, STATUS.run_validation(json_object(request)))

    def restore_secret(self, request: Request, workspace_id: str) -> HttpResponse:
        """Write back the secret that was replaced last, as a new version."""
        named = RESTORE.run_validation(json_object(request))
        note_connection(named["biz_id"])
        connection = services.restore_secret(
            **_caller(request), **named, expected_versions=expected_versions(request)
        )
        return success_response(responses.connection_data(connection), responses.etag(connection))

    def create_connection(self, request: Request, workspace_id: str) -> HttpResponse:
        """Create a connection; with an `Idempotency-Key` only once, even if repeated."""
        values = CREATE.run_validation(json_object(request))
        connection, is_replayed = services.create_connection_once(
            **_caller(request), values=values, key=idempotency_key(request)
        )
        note_connection(connection.biz_id)
        response = _shown(connection)
        if is_replayed:
            response["Idempotent-Replayed"] = "true"
        return response

    def list_connections(self, request: Request, workspace_id: str) -> HttpResponse:
        """A page of the workspace's connections, newest first."""
        page = {"limit": DEFAULT_PAGE} | PAGE.run_validation(query(request))
        found = queries.page_of_connections(_workspace(request), **page)
        return success_response(responses.page_data(*found))

    def get_connection(
        self, request: Request, workspace_id: str, connection_biz_id: str
    ) -> HttpResponse:
        """One connection, with its version in `ETag`."""
        return _shown(_found(request, connection_biz_id))

    def get_history(
        self, request: Request, workspace_id: str, connection_biz_id: str
    ) -> HttpResponse:
        """A page of a connection's history, newest first."""
        page = {"limit": DEFAULT_PAGE} | HISTORY_PAGE.run_validation(query(request))
        connection = _found(request, connection_biz_id)
        return success_response(
            responses.history_data(*history.page_of_history(connection, **page))
        )

    def verify_connection(self, request: Request, workspace_id: str) -> HttpResponse:
        """Verify the stored API key with Stripe now; returns the connection with the result."""
        if not settings.STRIPE_VERIFY:
            raise WebError(404, "Verification is switched off")
        named = VERIFY.run_validation(json_object(request))["biz_id"]
        note_connection(named)
        return _shown(services.verify_connection(**_caller(request), biz_id=named))


def idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key`, verbatim; InvalidFieldsError if it is malformed.

    A comma is refused because the server joins two header lines with one.
    """
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not re.fullmatch(r"[ -+\--~]{1,255}", key):
        message = "Send one Idempotency-Key of 1 to 255 printable ASCII characters, no comma."
        raise InvalidFieldsError.of("Idempotency-Key", "invalid", message)
    return key


def _updated(request: Request, changes: dict[str, Any], keep_seconds: int = 0) -> HttpResponse:
    """The response after `changes` to the connection that they name as `biz_id`."""
    named = changes.pop("biz_id")
    note_connection(named)
    connection = services.update_connection(
        **_caller(request),
        biz_id=named,
        changes=changes,
        keep_seconds=keep_seconds,
        expected_versions=expected_versions(request),
    )
    return success_response(responses.connection_data(connection), responses.etag(connection))


def _caller(request: Request) -> dict[str, Any]:
    """The arguments of every service about the caller: `workspace` and `actor`."""
    caller = cast("Caller", request.auth)
    return {
        "workspace": caller.workspace,
        "actor": Actor(caller.user, Source.API, request_id.get()),
    }


def _workspace(request: Request) -> Workspace:
    return cast("Caller", request.auth).workspace


def _found(request: Request, biz_id: str) -> StripeConnection:
    note_connection(biz_id)
    connection = queries.find_connection(_workspace(request), biz_id)
    if connection is None:
        raise services.ConnectionNotFoundError
    return connection


def _shown(connection: StripeConnection) -> HttpResponse:
    return success_response(responses.detail_data(connection), responses.etag(connection))


def expected_versions(request: Request | HttpRequest) -> frozenset[int] | None:
    """The versions that `If-Match` (RFC 9110, section 13.1.1) allows, None for any.

    A weak tag counts like a strong one, because a compressing proxy weakens tags. Anything that is
    not a tag of this service matches nothing.
    """
    header = request.META.get("HTTP_IF_MATCH")
    if header is None or header.strip() == "*":
        return None
    tags = (_entity_tag(part) for part in header.split(","))
    return frozenset(int(tag[1]) for tag in tags if tag)
