from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.error_400 import Error400
from ...models.error_401 import Error401
from ...models.error_403 import Error403
from ...models.error_405 import Error405
from ...models.error_406 import Error406
from ...models.error_413 import Error413
from ...models.error_415 import Error415
from ...models.error_429 import Error429
from ...models.error_500 import Error500
from ...models.error_503 import Error503
from ...models.list_connections_cause import ListConnectionsCause
from ...models.list_connections_count import ListConnectionsCount
from ...models.list_connections_has_webhook_secret import (
    ListConnectionsHasWebhookSecret,
)
from ...models.list_connections_mode import ListConnectionsMode
from ...models.list_connections_outcome import ListConnectionsOutcome
from ...models.list_connections_response_200 import ListConnectionsResponse200
from ...models.list_connections_sort import ListConnectionsSort
from ...models.list_connections_status import ListConnectionsStatus
from ...types import UNSET, Response, Unset


def _get_kwargs(
    workspace_id: str,
    *,
    status: ListConnectionsStatus | Unset = UNSET,
    mode: ListConnectionsMode | Unset = UNSET,
    stripe_account_id: str | Unset = UNSET,
    outcome: ListConnectionsOutcome | Unset = UNSET,
    cause: ListConnectionsCause | Unset = UNSET,
    has_webhook_secret: ListConnectionsHasWebhookSecret | Unset = UNSET,
    search: str | Unset = UNSET,
    sort: ListConnectionsSort | Unset = ListConnectionsSort.VALUE_1,
    count: ListConnectionsCount | Unset = ListConnectionsCount.FALSE,
    limit: int | Unset = 50,
    after: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(x_request_id, Unset):
        headers["X-Request-Id"] = x_request_id

    params: dict[str, Any] = {}

    json_status: str | Unset = UNSET
    if not isinstance(status, Unset):
        json_status = status.value

    params["status"] = json_status

    json_mode: str | Unset = UNSET
    if not isinstance(mode, Unset):
        json_mode = mode.value

    params["mode"] = json_mode

    params["stripeAccountId"] = stripe_account_id

    json_outcome: str | Unset = UNSET
    if not isinstance(outcome, Unset):
        json_outcome = outcome.value

    params["outcome"] = json_outcome

    json_cause: str | Unset = UNSET
    if not isinstance(cause, Unset):
        json_cause = cause.value

    params["cause"] = json_cause

    json_has_webhook_secret: str | Unset = UNSET
    if not isinstance(has_webhook_secret, Unset):
        json_has_webhook_secret = has_webhook_secret.value

    params["hasWebhookSecret"] = json_has_webhook_secret

    params["search"] = search

    json_sort: str | Unset = UNSET
    if not isinstance(sort, Unset):
        json_sort = sort.value

    params["sort"] = json_sort

    json_count: str | Unset = UNSET
    if not isinstance(count, Unset):
        json_count = count.value

    params["count"] = json_count

    params["limit"] = limit

    params["after"] = after

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/web/v1/workspaces/{workspace_id}/stripe/connections".format(
            workspace_id=quote(str(workspace_id), safe=""),
        ),
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> (
    Error400
    | Error401
    | Error403
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | ListConnectionsResponse200
    | None
):
    if response.status_code == 200:
        response_200 = ListConnectionsResponse200.from_dict(response.json())

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
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | ListConnectionsResponse200
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
    status: ListConnectionsStatus | Unset = UNSET,
    mode: ListConnectionsMode | Unset = UNSET,
    stripe_account_id: str | Unset = UNSET,
    outcome: ListConnectionsOutcome | Unset = UNSET,
    cause: ListConnectionsCause | Unset = UNSET,
    has_webhook_secret: ListConnectionsHasWebhookSecret | Unset = UNSET,
    search: str | Unset = UNSET,
    sort: ListConnectionsSort | Unset = ListConnectionsSort.VALUE_1,
    count: ListConnectionsCount | Unset = ListConnectionsCount.FALSE,
    limit: int | Unset = 50,
    after: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> Response[
    Error400
    | Error401
    | Error403
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | ListConnectionsResponse200
]:
    """List connections

     The connections of the workspace in pages, newest first unless `sort` says otherwise. To get the
    next page, send `nextAfter` as `after`, with the same filters and `sort`; it is null on the last
    page. An unknown or repeated name in the query is 400. Needs `workspace:read` on the workspace.

    Args:
        workspace_id (str):
        status (ListConnectionsStatus | Unset):
        mode (ListConnectionsMode | Unset):
        stripe_account_id (str | Unset):
        outcome (ListConnectionsOutcome | Unset):
        cause (ListConnectionsCause | Unset):
        has_webhook_secret (ListConnectionsHasWebhookSecret | Unset):
        search (str | Unset):
        sort (ListConnectionsSort | Unset):  Default: ListConnectionsSort.VALUE_1.
        count (ListConnectionsCount | Unset):  Default: ListConnectionsCount.FALSE.
        limit (int | Unset):  Default: 50.
        after (str | Unset):
        x_request_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | ListConnectionsResponse200]
    """

    kwargs = _get_kwargs(
        workspace_id=workspace_id,
        status=status,
        mode=mode,
        stripe_account_id=stripe_account_id,
        outcome=outcome,
        cause=cause,
        has_webhook_secret=has_webhook_secret,
        search=search,
        sort=sort,
        count=count,
        limit=limit,
        after=after,
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
    status: ListConnectionsStatus | Unset = UNSET,
    mode: ListConnectionsMode | Unset = UNSET,
    stripe_account_id: str | Unset = UNSET,
    outcome: ListConnectionsOutcome | Unset = UNSET,
    cause: ListConnectionsCause | Unset = UNSET,
    has_webhook_secret: ListConnectionsHasWebhookSecret | Unset = UNSET,
    search: str | Unset = UNSET,
    sort: ListConnectionsSort | Unset = ListConnectionsSort.VALUE_1,
    count: ListConnectionsCount | Unset = ListConnectionsCount.FALSE,
    limit: int | Unset = 50,
    after: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> (
    Error400
    | Error401
    | Error403
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | ListConnectionsResponse200
    | None
):
    """List connections

     The connections of the workspace in pages, newest first unless `sort` says otherwise. To get the
    next page, send `nextAfter` as `after`, with the same filters and `sort`; it is null on the last
    page. An unknown or repeated name in the query is 400. Needs `workspace:read` on the workspace.

    Args:
        workspace_id (str):
        status (ListConnectionsStatus | Unset):
        mode (ListConnectionsMode | Unset):
        stripe_account_id (str | Unset):
        outcome (ListConnectionsOutcome | Unset):
        cause (ListConnectionsCause | Unset):
        has_webhook_secret (ListConnectionsHasWebhookSecret | Unset):
        search (str | Unset):
        sort (ListConnectionsSort | Unset):  Default: ListConnectionsSort.VALUE_1.
        count (ListConnectionsCount | Unset):  Default: ListConnectionsCount.FALSE.
        limit (int | Unset):  Default: 50.
        after (str | Unset):
        x_request_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | ListConnectionsResponse200
    """

    return sync_detailed(
        workspace_id=workspace_id,
        client=client,
        status=status,
        mode=mode,
        stripe_account_id=stripe_account_id,
        outcome=outcome,
        cause=cause,
        has_webhook_secret=has_webhook_secret,
        search=search,
        sort=sort,
        count=count,
        limit=limit,
        after=after,
        x_request_id=x_request_id,
    ).parsed


async def asyncio_detailed(
    workspace_id: str,
    *,
    client: AuthenticatedClient,
    status: ListConnectionsStatus | Unset = UNSET,
    mode: ListConnectionsMode | Unset = UNSET,
    stripe_account_id: str | Unset = UNSET,
    outcome: ListConnectionsOutcome | Unset = UNSET,
    cause: ListConnectionsCause | Unset = UNSET,
    has_webhook_secret: ListConnectionsHasWebhookSecret | Unset = UNSET,
    search: str | Unset = UNSET,
    sort: ListConnectionsSort | Unset = ListConnectionsSort.VALUE_1,
    count: ListConnectionsCount | Unset = ListConnectionsCount.FALSE,
    limit: int | Unset = 50,
    after: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> Response[
    Error400
    | Error401
    | Error403
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | ListConnectionsResponse200
]:
    """List connections

     The connections of the workspace in pages, newest first unless `sort` says otherwise. To get the
    next page, send `nextAfter` as `after`, with the same filters and `sort`; it is null on the last
    page. An unknown or repeated name in the query is 400. Needs `workspace:read` on the workspace.

    Args:
        workspace_id (str):
        status (ListConnectionsStatus | Unset):
        mode (ListConnectionsMode | Unset):
        stripe_account_id (str | Unset):
        outcome (ListConnectionsOutcome | Unset):
        cause (ListConnectionsCause | Unset):
        has_webhook_secret (ListConnectionsHasWebhookSecret | Unset):
        search (str | Unset):
        sort (ListConnectionsSort | Unset):  Default: ListConnectionsSort.VALUE_1.
        count (ListConnectionsCount | Unset):  Default: ListConnectionsCount.FALSE.
        limit (int | Unset):  Default: 50.
        after (str | Unset):
        x_request_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error400 | Error401 | Error403 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | ListConnectionsResponse200]
    """

    kwargs = _get_kwargs(
        workspace_id=workspace_id,
        status=status,
        mode=mode,
        stripe_account_id=stripe_account_id,
        outcome=outcome,
        cause=cause,
        has_webhook_secret=has_webhook_secret,
        search=search,
        sort=sort,
        count=count,
        limit=limit,
        after=after,
        x_request_id=x_request_id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    workspace_id: str,
    *,
    client: AuthenticatedClient,
    status: ListConnectionsStatus | Unset = UNSET,
    mode: ListConnectionsMode | Unset = UNSET,
    stripe_account_id: str | Unset = UNSET,
    outcome: ListConnectionsOutcome | Unset = UNSET,
    cause: ListConnectionsCause | Unset = UNSET,
    has_webhook_secret: ListConnectionsHasWebhookSecret | Unset = UNSET,
    search: str | Unset = UNSET,
    sort: ListConnectionsSort | Unset = ListConnectionsSort.VALUE_1,
    count: ListConnectionsCount | Unset = ListConnectionsCount.FALSE,
    limit: int | Unset = 50,
    after: str | Unset = UNSET,
    x_request_id: str | Unset = UNSET,
) -> (
    Error400
    | Error401
    | Error403
    | Error405
    | Error406
    | Error413
    | Error415
    | Error429
    | Error500
    | Error503
    | ListConnectionsResponse200
    | None
):
    """List connections

     The connections of the workspace in pages, newest first unless `sort` says otherwise. To get the
    next page, send `nextAfter` as `after`, with the same filters and `sort`; it is null on the last
    page. An unknown or repeated name in the query is 400. Needs `workspace:read` on the workspace.

    Args:
        workspace_id (str):
        status (ListConnectionsStatus | Unset):
        mode (ListConnectionsMode | Unset):
        stripe_account_id (str | Unset):
        outcome (ListConnectionsOutcome | Unset):
        cause (ListConnectionsCause | Unset):
        has_webhook_secret (ListConnectionsHasWebhookSecret | Unset):
        search (str | Unset):
        sort (ListConnectionsSort | Unset):  Default: ListConnectionsSort.VALUE_1.
        count (ListConnectionsCount | Unset):  Default: ListConnectionsCount.FALSE.
        limit (int | Unset):  Default: 50.
        after (str | Unset):
        x_request_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error400 | Error401 | Error403 | Error405 | Error406 | Error413 | Error415 | Error429 | Error500 | Error503 | ListConnectionsResponse200
    """

    return (
        await asyncio_detailed(
            workspace_id=workspace_id,
            client=client,
            status=status,
            mode=mode,
            stripe_account_id=stripe_account_id,
            outcome=outcome,
            cause=cause,
            has_webhook_secret=has_webhook_secret,
            search=search,
            sort=sort,
            count=count,
            limit=limit,
            after=after,
            x_request_id=x_request_id,
        )
    ).parsed
