"""Connections as CSV, without their secrets."""

import csv
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime

from stripe_connections.models import Status, StripeConnection

COLUMNS = (
    "bizId", "connectionName", "connectionDescription", "tenantBizId", "tenantName",
    "workspaceBizId", "workspaceName", "stripeAccountId", "mode", "statusName",
    "apiKeyHint", "apiKeyReplacedAt", "webhookSecretHint", "webhookSecretReplacedAt",
    "partnerEndpoint", "createdAt", "updatedAt",
)  # fmt: skip


class _Echo:
    """A file that hands back what is written to it, as the csv module needs one."""

    def write(self, line: str) -> str:
        return line


def csv_lines(connections: Iterable[StripeConnection]) -> Iterator[str]:
    """A header and a line for each connection."""
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for connection in connections:
        yield writer.writerow([defused(str(value or "")) for value in _values(connection)])


def defused(cell: str) -> str:
    """`cell`, which no spreadsheet takes for a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    start = unicodedata.normalize("NFKC", cell).lstrip()
    return f"'{cell}" if start.startswith(("=", "+", "-", "@")) else cell


def _values(connection: StripeConnection) -> tuple[object, ...]:
    workspace = connection.workspace
    return (
        connection.biz_id,
        connection.connection_name,
        connection.connection_description,
        workspace.tenant.biz_id,
        workspace.tenant.name,
        workspace.biz_id,
        workspace.name,
        connection.stripe_account_id,
        connection.mode,
        Status(connection.status).name,
        connection.api_key_hint,
        _moment(connection.api_key_replaced_at),
        connection.webhook_secret_hint,
        _moment(connection.webhook_secret_replaced_at),
        connection.partner_endpoint,
        _moment(connection.created_at),
        _moment(connection.updated_at),
    )


def _moment(value: datetime | None) -> str | None:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if value else None
