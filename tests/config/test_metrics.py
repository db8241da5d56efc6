"""Metrics for Prometheus: counts, labels, and the token."""

import pytest
from django.dispatch import Signal
from prometheus_client import REGISTRY

from config.observability import metrics
from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from tests.conftest import ApiClient, random_api_key, update_path
from tests.stripe_connections.admin.conftest import StaffClient

ROUTE = "web/v1/workspaces/<str:workspace_id>/stripe/connections/update"
NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}
TOKEN = "a token for the tests"


def scrape(token=TOKEN, **kwargs):
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return ApiClient(headers=headers).get("/metrics", **kwargs)


@pytest.fixture
def rise():
    """Return a function that returns by how much a call increases a metric."""

    def run(call, name, **labels):
        before = REGISTRY.get_sample_value(name, labels) or 0
        call()
        return (REGISTRY.get_sample_value(name, labels) or 0) - before

    return run


@pytest.fixture
def open_metrics(settings, monkeypatch):
    """The page, which does not start to compute the gauges: test_gauges.py does."""
    settings.METRICS_TOKEN = TOKEN
    monkeypatch.setattr(metrics, "requested", Signal())


@pytest.mark.parametrize(
    ("who", "body", "code"),
    [
        ("manager", NAMED, "200"),
        ("manager", {}, "400"),
        ("viewer", NAMED, "403"),
        ("manager", {"connectionBizId": "sc_unknown"}, "404"),
    ],
)
def test_request_is_counted_by_route_method_and_code(who, body, code, request, connection, rise):
    client = request.getfixturevalue(who)
    labels = {"route": ROUTE, "method": "POST", "code": code}

    assert rise(lambda: client.update(body), "http_requests_total", **labels) == 1


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/web/unknown", {"route": "unmatched", "method": "GET", "code": "404"}),
        ("BREW", "/unknown", {"route": "unmatched", "method": "other", "code": "404"}),
        ("POST", update_path(), {"route": ROUTE, "method": "POST", "code": "401"}),
        ("GET", update_path("x" * 99), {"route": ROUTE, "method": "GET", "code": "401"}),
        ("GET", "/healthz", {"route": "/healthz", "method": "GET", "code": "200"}),
        ("POST", "/healthz", {"route": "/healthz", "method": "POST", "code": "405"}),
    ],
)
def test_labels_have_a_limited_set_of_values(db, rise, method, path, labels):
    call = StaffClient().generic

    assert rise(lambda: call(method, path), "http_requests_total", **labels) == 1


def test_duration_is_measured_by_route(manager, connection, rise):
    name = "http_request_duration_seconds"

    assert rise(lambda: manager.update(NAMED), f"{name}_count", route=ROUTE) == 1
    assert rise(lambda: manager.update(NAMED), f"{name}_sum", route=ROUTE) > 0
    assert rise(lambda: manager.update(NAMED), f"{name}_bucket", route=ROUTE, le="+Inf") == 1


@pytest.mark.parametrize(
    ("field", "rises"), [("connection_name", 1), ("api_key", 1), ("config_json", 0)]
)
def test_updates_are_counted_by_field(manager, connection, rise, field, rises):
    body = NAMED | {"apiKey": random_api_key()}

    found = rise(lambda: manager.update(body), "connection_updates_total", field=field)

    assert found == rises


def test_updates_of_the_service_are_counted(workspace, connection, rise):
    def update():
        changes = {"connection_name": "New"}
        actor = Actor(None, Source.ADMIN)
        services.update_connection(
            workspace=workspace, biz_id="sc_abc123", changes=changes, actor=actor
        )

    assert rise(update, "connection_updates_total", field="connection_name") == 1


@pytest.mark.parametrize("body", [NAMED | {"nonsense": 1}, {"connectionBizId": "sc_abc123"}])
def test_call_without_a_change_is_not_counted_as_an_update(manager, connection, rise, body):
    def update():
        manager.update(body)

    assert rise(update, "connection_updates_total", field="connection_name") == 0


def test_page_shows_the_metrics(manager, connection, open_metrics):
    manager.update(NAMED)
    response = scrape()

    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert response["Cache-Control"] == "no-store"
    assert f'http_requests_total{{code="200",method="POST",route="{ROUTE}"}}' in (
        response.content.decode()
    )


@pytest.mark.parametrize("sent", ["wrong", "", TOKEN + " ", TOKEN[:-1], "\xe9", None])
def test_page_is_404_without_the_token(db, open_metrics, sent):
    response = scrape(sent)

    assert (response.status_code, response.content) == (404, b"")
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("sent", ["", "None", None])
def test_page_is_404_if_no_token_is_set(db, settings, sent):
    assert settings.METRICS_TOKEN == ""
    assert scrape(sent).status_code == 404
