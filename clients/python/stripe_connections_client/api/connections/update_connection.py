from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.error_400 import Error400
from ...models.error_401 import Error401
from ...models.error_403 import Error403
from ...models.error_404 import Error404
from ...models.error_405 import Error405
from ...models.error_406 import Error406
from ...models.error_409 import Error409
from ...models.error_412 import Error412
from ...models.error_413 import Error413
from ...models.error_415 import Error415
from ...models.error_429 import Error429
from ...models.error_500 import Error500
from ...models.error_503 import Error503
from ...models.sent_back_connection import SentBackConnection
from ...models.update_connection import UpdateConnection
from ...models.update_connection_response_200 import UpdateConnectionResponse200
from ...types import UNSET, Response, Unset


def _get_kwargs(
    workspace_id: str,
    *,
    body: SentBackConnection | UpdateConnection,
    if_match: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(if_match, Unset):
        headers["If-Match"] = if_match

    if not isinstance(x_request_id, Unset):
        headers["X-Request-Id"] = x_request_id

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/web/v1/workspaces/{workspace_id}/stripe/connections/update".format(
            workspace_id=quote(str(workspace_id), safe=""),
        ),
    }

    if isinstance(body, UpdateConnection):
        _kwargs["json"] = body.to_dict()
    else:
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> (
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error409
    | Error412
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | UpdateConnectionResponse200
    | None
):
    if response.status_code == 200:
        response_200 = UpdateConnectionResponse200.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = Error400.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Error401.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Error403.from_dict(response.json())

        return response_403

    if response.status_code == 404:
        response_404 = Error404.from_dict(response.json())

        return response_404

    if response.status_code == 405:
        response_405 = Error405.from_dict(response.json())

        return response_405

    if response.status_code == 406:
        response_406 = Error406.from_dict(response.json())

        return response_406

    if response.status_code == 409:
        response_409 = Error409.from_dict(response.json())

        return response_409

    if response.status_code == 412:
        response_412 = Error412.from_dict(response.json())

        return response_412

    if response.status_code == 413:
        response_413 = Error413.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Error415.from_dict(response.json())

        return response_415

    if response.status_code == 429:
        response_429 = Error429.from_dict(response.json())

        return response_429

    if response.status_code == 500:
        response_500 = Error500.from_dict(response.json())

        return response_500

    if response.status_code == 503:
        response_503 = Error503.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error409
    | Error412
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | UpdateConnectionResponse200
]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    workspace_id: str,
    *,
    client: AuthenticatedClient,
    body: SentBackConnection | UpdateConnection,
    if_match: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> Response[
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error409
    | Error412
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | UpdateConnectionResponse200
]:
    """Update a connection

     Changes the fields in the body, all of them or none; omitted fields keep their values. White space
    at the start and end of a value is removed, except in `connectionDescription` and `configJson`. If
    the body has no field to change, the response is the current state and nothing is written. You can
    send an object of list or detail with a field changed: if there is `extra` and no `connectionBizId`,
    `bizId` identifies the connection. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (SentBackConnection | UpdateConnection):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | UpdateConnectionResponse200]
    """

    kwargs = _get_kwargs(
        workspace_id=workspace_id,
        body=body,
        if_match=if_match,
        x_request_id=x_request_id,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    workspace_id: str,
    *,
    client: AuthenticatedClient,
    body: SentBackConnection | UpdateConnection,
    if_match: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> (
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error409
    | Error412
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | UpdateConnectionResponse200
    | None
):
    """Update a connection

     Changes the fields in the body, all of them or none; omitted fields keep their values. White space
    at the start and end of a value is removed, except in `connectionDescription` and `configJson`. If
    the body has no field to change, the response is the current state and nothing is written. You can
    send an object of list or detail with a field changed: if there is `extra` and no `connectionBizId`,
    `bizId` identifies the connection. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (SentBackConnection | UpdateConnection):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | UpdateConnectionResponse200
    """

    return sync_detailed(
        workspace_id=workspace_id,
        client=client,
        body=body,
        if_match=if_match,
        x_request_id=x_request_id,
    ).parsed


async def asyncio_detailed(
    workspace_id: str,
    *,
    client: AuthenticatedClient,
    body: SentBackConnection | UpdateConnection,
    if_match: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> Response[
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error409
    | Error412
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | UpdateConnectionResponse200
]:
    """Update a connection

     Changes the fields in the body, all of them or none; omitted fields keep their values. White space
    at the start and end of a value is removed, except in `connectionDescription` and `configJson`. If
    the body has no field to change, the response is the current state and nothing is written. You can
    send an object of list or detail with a field changed: if there is `extra` and no `connectionBizId`,
    `bizId` identifies the connection. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (SentBackConnection | UpdateConnection):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | UpdateConnectionResponse200]
    """

    kwargs = _get_kwargs(
        workspace_id=workspace_id,
        body=body,
        if_match=if_match,
        x_request_id=x_request_id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    workspace_id: str,
    *,
    client: AuthenticatedClient,
    body: SentBackConnection | UpdateConnection,
    if_match: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> (
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error409
    | Error412
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | UpdateConnectionResponse200
    | None
):
    """Update a connection

     Changes the fields in the body, all of them or none; omitted fields keep their values. White space
    at the start and end of a value is removed, except in `connectionDescription` and `configJson`. If
    the body has no field to change, the response is the current state and nothing is written. You can
    send an object of list or detail with a field changed: if there is `extra` and no `connectionBizId`,
    `bizId` identifies the connection. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (SentBackConnection | UpdateConnection):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | UpdateConnectionResponse200
    """

    return (
        await asyncio_detailed(
            workspace_id=workspace_id,
            client=client,
            body=body,
            if_match=if_match,
            x_request_id=x_request_id,
        )
    ).parsed
