"""Metrics for Prometheus, summed over the worker processes of a server.

prometheus_client keeps each process's figures in a file of PROMETHEUS_MULTIPROC_DIR, which `serve`
sets. django-prometheus would wrap the database's engine and every statement in counters of its own;
what is counted here takes 5 µs of a request. Every label has a bounded number of values.
"""

import os
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    # The library asks the system for the process id at every count, which takes longer than the
    # counting. A worker of the server loads this module itself and never forks.
    _pid = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _pid)

REQUESTS = Counter(
    "http_requests", "Requests; refused and throttled ones by their code.",
    ["route", "method", "code"],
)  # fmt: skip
DURATION = Histogram("http_request_duration_seconds", "Time until the answer.", ["route"])
UPDATES = Counter("connection_updates", "Connections' fields that were written.", ["field"])
VERIFICATIONS = Counter(
    "connections_verification", "Stripe's replies about API keys.", ["outcome", "cause"]
)

# A counter for each set of labels, which the library would look up under a lock each time.
requests = lru_cache(maxsize=None)(REQUESTS.labels)
duration = lru_cache(maxsize=None)(DURATION.labels)
updates = lru_cache(maxsize=None)(UPDATES.labels)
verifications = lru_cache(maxsize=None)(VERIFICATIONS.labels)


def metrics(request: HttpRequest) -> HttpResponse:
    """Every figure, for who knows METRICS_TOKEN; for anybody else there is no such page."""
    sent = request.META.get("HTTP_AUTHORIZATION", "")
    token = settings.METRICS_TOKEN
    if not (token and constant_time_compare(sent, f"Bearer {token}")):
        return HttpResponse(status=404, content_type="text/plain")
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry
