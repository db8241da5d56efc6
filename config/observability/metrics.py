"""Metrics for Prometheus, summed over the worker processes of a server.

prometheus_client stores the values of each process in a file of PROMETHEUS_MULTIPROC_DIR, which
`serve` sets. django-prometheus would also wrap the database engine and count every statement; the
counters here take 5 µs of a request. Every label has a bounded number of values.
"""

import os
from functools import lru_cache

from django.conf import settings
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import Counter, Histogram, exposition, registry, values
from prometheus_client.multiprocess import MultiProcessCollector

if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    # The library calls os.getpid for each increment, which takes longer than the increment itself.
    # A worker of the server imports this module itself and never forks.
    _pid = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _pid)

REQUESTS = Counter(
    "http_requests", "Requests; refused and throttled ones by their code.",
    ["route", "method", "code"],
)  # fmt: skip
DURATION = Histogram("http_request_duration_seconds", "Time until the response.", ["route"])
UPDATES = Counter("connection_updates", "Fields of connections that were written.", ["field"])
RESTORES = Counter("connection_restores", "Secrets that were restored.", ["field"])
USES = Counter("connection_uses", "Secrets that code used.", ["secret", "outcome"])
VERIFICATIONS = Counter(
    "connections_verification", "Stripe's replies about API keys.", ["outcome", "cause"]
)
DATABASE_ERRORS = Counter("database_errors", "Statements that found it busy or gone.", ["error"])
WORKER_STARTS = Counter("worker_starts", "Worker processes that started.")

# Sent before the metrics are read, so that an app can refresh its own.
requested = Signal()

# One counter for each set of labels; the library would look it up under a lock each time.
requests = lru_cache(maxsize=None)(REQUESTS.labels)
duration = lru_cache(maxsize=None)(DURATION.labels)
updates = lru_cache(maxsize=None)(UPDATES.labels)
restores = lru_cache(maxsize=None)(RESTORES.labels)
uses = lru_cache(maxsize=None)(USES.labels)
verifications = lru_cache(maxsize=None)(VERIFICATIONS.labels)


def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, if the request has METRICS_TOKEN; otherwise 404."""
    sent = request.META.get("HTTP_AUTHORIZATION", "")
    token = settings.METRICS_TOKEN
    if not (token and constant_time_compare(sent, f"Bearer {token}")):
        return HttpResponse(status=404, content_type="text/plain")
    requested.send_robust(sender=None)
    return HttpResponse(
        exposition.generate_latest(_registry()), content_type=exposition.CONTENT_TYPE_LATEST
    )


def _registry() -> registry.CollectorRegistry:
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return registry.REGISTRY
    summed = registry.CollectorRegistry()
    MultiProcessCollector(summed)
    return summed
