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
from ...models.restore_secret import RestoreSecret
from ...models.restore_secret_response_200 import RestoreSecretResponse200
from ...types import UNSET, Response, Unset


def _get_kwargs(
    workspace_id: str,
    *,
    body: RestoreSecret,
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
        "url": "/web/v1/workspaces/{workspace_id}/stripe/connections/restore".format(
            workspace_id=quote(str(workspace_id), safe=""),
        ),
    }

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
    | RestoreSecretResponse200
    | None
):
    if response.status_code == 200:
        response_200 = RestoreSecretResponse200.from_dict(response.json())

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
    | RestoreSecretResponse200
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
    body: RestoreSecret,
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
    | RestoreSecretResponse200
]:
    """Restore a replaced secret

     Writes back the secret that the last replacement of this field replaced, as a new version, without
    showing it. A replaced secret can be restored for 7 days, unless the deployment sets another time.
    If verification is on, the secret is verified first. A second call changes nothing and is 400
    `not_found`, because the secret is in use again. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (RestoreSecret):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | RestoreSecretResponse200]
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
    body: RestoreSecret,
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
    | RestoreSecretResponse200
    | None
):
    """Restore a replaced secret

     Writes back the secret that the last replacement of this field replaced, as a new version, without
    showing it. A replaced secret can be restored for 7 days, unless the deployment sets another time.
    If verification is on, the secret is verified first. A second call changes nothing and is 400
    `not_found`, because the secret is in use again. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (RestoreSecret):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | RestoreSecretResponse200
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
    body: RestoreSecret,
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
    | RestoreSecretResponse200
]:
    """Restore a replaced secret

     Writes back the secret that the last replacement of this field replaced, as a new version, without
    showing it. A replaced secret can be restored for 7 days, unless the deployment sets another time.
    If verification is on, the secret is verified first. A second call changes nothing and is 400
    `not_found`, because the secret is in use again. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (RestoreSecret):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | RestoreSecretResponse200]
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
    body: RestoreSecret,
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
    | RestoreSecretResponse200
    | None
):
    """Restore a replaced secret

     Writes back the secret that the last replacement of this field replaced, as a new version, without
    showing it. A replaced secret can be restored for 7 days, unless the deployment sets another time.
    If verification is on, the secret is verified first. A second call changes nothing and is 400
    `not_found`, because the secret is in use again. Needs `workspace:manage` on the workspace.

    Args:
        workspace_id (str):
        if_match (str | Unset):
        x_request_id (str | Unset):
        body (RestoreSecret):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error409 | Error412 | Error413 | Error415 | Error429 | Error500 | Error503 | RestoreSecretResponse200
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
