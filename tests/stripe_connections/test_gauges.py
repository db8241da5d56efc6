"""The gauges for stored data: their values, how often they are computed, and failures."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.utils import timezone
from prometheus_client import REGISTRY

from stripe_connections import gauges
from stripe_connections.models import StripeConnection
from tests.conftest import ApiClient, create_connection, set_columns
from tests.stripe_connections.undo.conftest import keep

TOKEN = "a token for the tests"
DAY = timedelta(days=1)


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def counted(name, *labels):
    """Return the samples of a gauge that are not zero, by the values of these labels."""
    [metric] = [metric for metric in REGISTRY.collect() if metric.name == name]
    return {
        " ".join(sample.labels[label] for label in labels): sample.value
        for sample in metric.samples
        if sample.value
    }


def scrape():
    return ApiClient(headers={"Authorization": f"Bearer {TOKEN}"}).get("/metrics")


AGES = {
    0: "0-89 days",
    89: "0-89 days",
    90: "90-179 days",
    179: "90-179 days",
    180: "180-364 days",
    364: "180-364 days",
    365: "365+ days",
    4000: "365+ days",
}


@pytest.mark.parametrize("column", ["api_key_replaced_at", "webhook_secret_replaced_at"])
def test_age_of_a_connection_is_that_of_its_oldest_secret(connection, column):
    def counted_after(days):
        set_columns(connection, **{column: timezone.now() - days * DAY})
        gauges.refresh()
        return counted("connections_stored", "age")

    assert {days: counted_after(days) for days in AGES} == {
        days: {age: 1} for days, age in AGES.items()
    }


def test_connections_are_counted_by_outcome_and_by_age(workspace, connection):
    StripeConnection.objects.create(workspace=workspace, connection_name="Empty")
    rejected = create_connection(workspace, "sc_rejected")
    set_columns(rejected, verification="rejected")
    gauges.refresh()
    assert counted("connections_stored", "outcome", "age") == {
        "unverified no secret": 1,
        "unverified 0-89 days": 1,
        "rejected 0-89 days": 1,
    }

    rejected.delete()
    gauges.refresh()
    assert value("connections_stored", outcome="rejected", age="0-89 days") == 0


def test_connections_are_read_with_one_query(connection, django_assert_max_num_queries):
    with django_assert_max_num_queries(6) as captured:
        gauges.refresh()

    sql = [query["sql"] for query in captured.captured_queries]
    assert sum("stripeconnection" in text and "LIMIT" not in text for text in sql) == 1


def test_secrets_of_the_sample_are_counted_by_their_key(workspace, connection):
    unreadable = create_connection(workspace, "sc_damaged")
    set_columns(unreadable, api_key=b"gAAAAdamaged")
    gauges.refresh()

    assert counted("secrets_sampled", "kind") == {"key 1": 3, "unreadable": 1}
    assert value("secrets_sampled", kind="key 2") == 0


def test_secrets_outside_the_sample_are_not_counted(workspace, connection, monkeypatch):
    create_connection(workspace, "sc_middle")
    create_connection(workspace, "sc_last")
    monkeypatch.setattr(gauges, "SAMPLE_SIZE", 2)
    gauges.refresh()

    assert value("secrets_sampled", kind="key 1") == 4


def test_kept_secrets_are_counted(connection):
    keep(connection, 2)
    gauges.refresh()
    assert counted("secrets_replaced", "state") == {"kept": 2}


def test_expired_secrets_that_were_not_deleted_are_counted(connection):
    keep(connection, 2, timezone.now() - 400 * DAY)
    gauges.refresh()
    assert counted("secrets_replaced", "state") == {"expired": 2}


@pytest.mark.only_on("postgresql", reason="SQLite has no sessions")
def test_sessions_of_the_user_are_counted(db):
    gauges.refresh()

    assert value("database_sessions") >= 1


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test can set."""
    now = SimpleNamespace(seconds=1_000.0)
    monkeypatch.setattr(gauges, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def computed(settings, monkeypatch, tmp_path, clock):
    """A list of the times at which the gauges were computed."""
    settings.METRICS_TOKEN = TOKEN
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    calls = []
    monkeypatch.setattr(gauges, "refresh", lambda: calls.append(clock.seconds))
    return calls


@pytest.fixture
def refresh_at(clock):
    def refresh(*times):
        for clock.seconds in times:
            gauges.refresh_if_due()

    return refresh


def test_gauges_are_computed_once_a_minute(computed, refresh_at):
    refresh_at(1_000, 1_001, 1_059.9, 1_060, 1_119, 1_121)

    assert computed == [1_000, 1_060, 1_121]


def test_gauges_are_computed_after_a_restart_of_the_machine(computed, refresh_at):
    refresh_at(1_000, 5)

    assert computed == [1_000, 5]


def test_failure_is_logged_and_the_gauges_are_computed_again_after_a_minute(
    computed, refresh_at, clock, monkeypatch, caplog
):
    def fail():
        computed.append(clock.seconds)
        raise OperationalError("The database is unavailable")

    monkeypatch.setattr(gauges, "refresh", fail)
    refresh_at(1_000, 1_030, 1_060)

    assert computed == [1_000, 1_060]
    assert caplog.messages == ["The gauges over the tables are not refreshed"] * 2


def test_page_does_not_wait_for_the_gauges(computed, monkeypatch):
    """A second request does not start another computation."""
    may_end, before = threading.Event(), {*threading.enumerate()}
    monkeypatch.setattr(gauges, "refresh", lambda: (computed.append("begun"), may_end.wait(120)))
    try:
        pages = [scrape(), scrape()]
    finally:
        may_end.set()
        for thread in {*threading.enumerate()} - before:
            thread.join(120)

    assert [page.status_code for page in pages] == [200, 200]
    assert computed == ["begun"]
