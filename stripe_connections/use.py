"""Use a stored connection in code of the same project, as docs/using.md shows.

A call costs one statement, and writes a log line with its purpose. No exception, log line or `repr`
contains a secret. Both functions return the version of the connection, too: drop what you cached
for another one.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import stripe
from django.conf import settings

from config.observability import metrics
from config.web_chain.parsers import find_bad_character
from stripe_connections.models import Status, StripeConnection
from stripe_connections.secrets.fields import Secret, UndecryptableSecretError
from stripe_connections.stripe_api.replies import Cause, Request, Verification

logger = logging.getLogger(__name__)


class UnusableConnectionError(Exception):
    """The connection cannot be used; the text says why."""


class UnknownError(UnusableConnectionError):
    """The workspace has no such connection."""


class InactiveError(UnusableConnectionError):
    """The connection or its workspace is inactive."""


class MissingError(UnusableConnectionError):
    """The connection has no such secret."""


class UnreadableError(UnusableConnectionError):
    """The secret cannot be decrypted."""


def stripe_client(
    workspace_id: str, connection_id: str, *, purpose: str
) -> tuple[stripe.StripeClient, int]:
    """A client with the API key and for the account of a connection, and the version.

    Raises an UnusableConnectionError.
    """
    with _used(workspace_id, connection_id, "api_key", purpose) as (connection, [api_key]):
        account = connection.stripe_account_id
        context = Request(api_key, account, connection.workspace_id).context
        client = stripe.StripeClient(
            api_key,
            stripe_context=context,
            stripe_account=None if context or _is_own(connection) else account,
            base_addresses={"api": settings.STRIPE_API_BASE.rstrip("/")},
        )
    return client, connection.version


def construct_event(
    workspace_id: str, connection_id: str, payload: bytes, signature: str
) -> tuple[stripe.Event, int]:
    """The event that Stripe sent to the webhook of a connection, and the version.

    `signature` is the header `Stripe-Signature`. A replaced secret is accepted while it is kept
    valid. Raises an UnusableConnectionError, stripe.SignatureVerificationError, and a ValueError
    if the payload is not an event.
    """
    with _used(workspace_id, connection_id, "webhook_secret", "webhook") as (connection, secrets):
        current, *previous = secrets
        for secret in previous:
            with suppress(stripe.SignatureVerificationError):
                event = stripe.Webhook.construct_event(payload, signature, secret)
                return event, connection.version
        return stripe.Webhook.construct_event(payload, signature, current), connection.version


@contextmanager
def _used(
    workspace_id: str, connection_id: str, name: str, purpose: str
) -> Iterator[tuple[StripeConnection, list[str]]]:
    """The connection, and its secret before the replaced one that is still valid."""
    fields: dict[str, str | int] = {"purpose": purpose, "secret": name, "outcome": "ok"}
    try:
        connection = _found(workspace_id, connection_id)
        fields |= {"connection": connection.biz_id, "version": connection.version}
        if connection.status != Status.ACTIVE or not connection.workspace.is_active:
            raise InactiveError("The connection or its workspace is inactive.")
        yield connection, _secrets(connection, name)
    except (UnusableConnectionError, ValueError, stripe.SignatureVerificationError) as error:
        fields["outcome"] = type(error).__name__
        raise
    finally:
        logger.info("secret used", extra={"fields": fields})
        metrics.uses(name, fields["outcome"]).inc()


def _found(workspace_id: str, connection_id: str) -> StripeConnection:
    connections = StripeConnection.objects.with_secrets().with_previous("previous", "ciphertext")
    found = connections.filter(workspace__biz_id=workspace_id, biz_id=connection_id)
    is_text = find_bad_character(workspace_id + connection_id) is None
    named = found.select_related("workspace")
    connection: StripeConnection | None = named.first() if is_text else None
    if connection is None:
        raise UnknownError("The workspace has no such connection.")
    return connection


def _secrets(connection: StripeConnection, name: str) -> list[str]:
    stored: Secret | None = getattr(connection, name)
    if stored is None:
        raise MissingError("The connection has no such secret.")
    try:
        secrets = [stored.reveal(connection)]
    except UndecryptableSecretError:
        raise UnreadableError("A secret of the connection cannot be decrypted.") from None
    if name == "webhook_secret" and (previous := vars(connection)["previous"]):
        with suppress(UndecryptableSecretError):
            secrets.append(Secret(name, bytes(previous)).reveal(connection))
    return secrets


def _is_own(connection: StripeConnection) -> bool:
    """Whether Stripe said that the account is the key's own, so that it need not be named."""
    outcome = connection.outcome
    return outcome.verification == Verification.VERIFIED and outcome.cause != Cause.CONNECTED
