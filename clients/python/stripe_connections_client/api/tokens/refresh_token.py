from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.error_400 import Error400
from ...models.error_401 import Error401
from ...models.error_403 import Error403
from ...models.error_404 import Error404
from ...models.error_405 import Error405
from ...models.error_406 import Error406
from ...models.error_413 import Error413
from ...models.error_415 import Error415
from ...models.error_429 import Error429
from ...models.error_500 import Error500
from ...models.error_503 import Error503
from ...models.refresh_token import RefreshToken
from ...models.refresh_token_response_200 import RefreshTokenResponse200
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: RefreshToken,
    x_request_id: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(x_request_id, Unset):
        headers["X-Request-Id"] = x_request_id

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/web/v1/auth/token/refresh",
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
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | RefreshTokenResponse200
    | None
):
    if response.status_code == 200:
        response_200 = RefreshTokenResponse200.from_dict(response.json())

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
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | RefreshTokenResponse200
]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: RefreshToken,
    x_request_id: str | Unset = UNSET,
) -> Response[
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | RefreshTokenResponse200
]:
    """Stay logged in

     Exchanges a refresh token for a new pair. The old one is no longer valid.

    Args:
        x_request_id (str | Unset):
        body (RefreshToken):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | RefreshTokenResponse200]
    """

    kwargs = _get_kwargs(
        body=body,
        x_request_id=x_request_id,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    body: RefreshToken,
    x_request_id: str | Unset = UNSET,
) -> (
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | RefreshTokenResponse200
    | None
):
    """Stay logged in

     Exchanges a refresh token for a new pair. The old one is no longer valid.

    Args:
        x_request_id (str | Unset):
        body (RefreshToken):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | RefreshTokenResponse200
    """

    return sync_detailed(
        client=client,
        body=body,
        x_request_id=x_request_id,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: RefreshToken,
    x_request_id: str | Unset = UNSET,
) -> Response[
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | RefreshTokenResponse200
]:
    """Stay logged in

     Exchanges a refresh token for a new pair. The old one is no longer valid.

    Args:
        x_request_id (str | Unset):
        body (RefreshToken):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | RefreshTokenResponse200]
    """

    kwargs = _get_kwargs(
        body=body,
        x_request_id=x_request_id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: RefreshToken,
    x_request_id: str | Unset = UNSET,
) -> (
    Error400
    | Error401
    | Error403
    | Error404
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | RefreshTokenResponse200
    | None
):
    """Stay logged in

     Exchanges a refresh token for a new pair. The old one is no longer valid.

    Args:
        x_request_id (str | Unset):
        body (RefreshToken):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error404 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | RefreshTokenResponse200
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            x_request_id=x_request_id,
        )
    ).parsed
