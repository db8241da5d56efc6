"""The data of each response. The OpenAPI document describes it, and the tests compare the two."""

from datetime import UTC, datetime
from typing import Any

from stripe_connections.audit import history
from stripe_connections.models import Status, StripeConnection
from stripe_connections.validation.serializers import API_NAMES


def connection_data(connection: StripeConnection) -> dict[str, Any]:
    """A connection: these eleven keys, in this order, and never a secret."""
    return {
        "bizId": connection.biz_id,
        "tenantBizId": connection.workspace.tenant.biz_id,
        "connectionName": connection.connection_name,
        "connectionDescription": connection.connection_description,
        "stripeAccountId": connection.stripe_account_id,
        "partnerEndpoint": connection.partner_endpoint,
        "configJson": connection.config_json,
        "status": connection.status,
        "statusName": Status(connection.status).name,
        "createdAt": _utc(connection.created_at),
        "updatedAt": _utc(connection.updated_at),
    }


def detail_data(connection: StripeConnection) -> dict[str, Any]:
    """The eleven keys, and `extra` for a settings page, with hints in place of secrets."""
    outcome, until = connection.outcome, connection.previous_webhook_secret_until
    extra = {
        "version": connection.version,
        "mode": connection.mode or None,
        "apiKeyHint": connection.api_key_hint,
        "webhookSecretHint": connection.webhook_secret_hint,
        "hasWebhookSecret": connection.webhook_secret_hint is not None,
        "previousWebhookSecretUntil": until and _utc(until),
        "verification": {
            "outcome": outcome.verification,
            "at": outcome.at and _utc(outcome.at),
            "accountId": outcome.account_id,
            "missingPermission": outcome.missing_permission,
            "cause": outcome.cause,
        },
    }
    return connection_data(connection) | {"extra": extra}


def page_data(
    items: list[StripeConnection], next_after: str | None, total: int | None
) -> dict[str, Any]:
    """A page of connections, with the total if it was requested."""
    data = {"items": [detail_data(item) for item in items], "nextAfter": next_after}
    return data if total is None else data | {"total": total}


def history_data(items: list[history.Entry], next_before: int | None) -> dict[str, Any]:
    """A page of a connection's history."""
    return {"items": [_entry_data(entry) for entry in items], "nextBefore": next_before}


def etag(connection: StripeConnection) -> dict[str, str]:
    """The header with the version as a strong entity tag (RFC 9110, section 8.8.3)."""
    return {"ETag": f'"{connection.version}"'}


def _entry_data(entry: history.Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": _utc(entry.time),
        "action": entry.action,
        "actor": entry.username or None,
        "source": entry.source,
        "requestId": entry.request_id or None,
        "version": entry.version,
        "changes": [
            {"field": API_NAMES.get(change.name, change.name), "old": change.old, "new": change.new}
            for change in entry.changes
        ],
    }


def _utc(time: datetime) -> str:
    """Whole seconds, such as "2026-03-21T01:00:00Z"."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
