"""The alerts and the dashboard are valid, and use metrics that `/metrics` exposes."""

import json
import re
from collections import defaultdict

import promql_parser
import pytest
from django.urls import resolve
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, MatchOp, VectorSelector
from ruamel.yaml import YAML

from config.observability import metrics
from config.observability.requests import PROBES
from stripe_connections import gauges
from tests.config.test_docs import ROOT, anchors
from tests.conftest import ApiClient

ALERTS = [
    rule
    for group in YAML(typ="safe").load(ROOT / "deploy/prometheus/alerts.yml")["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in ALERTS} | {
    f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
    for panel in PANELS
    for target in panel.get("targets", [])
}
# Prometheus adds these metrics and labels.
OF_PROMETHEUS = {"up": {}}
TARGET = {"job", "instance"}


def parts(name, kind):
    """Return the parts of an expression that have this type."""
    found = []
    promql_parser.walk(
        promql_parser.parse(EXPRESSIONS[name]),
        lambda part: found.append(part) if isinstance(part, kind) else None,
    )
    return found


@pytest.fixture
def exposed(connection, manager):
    """The labels and values of each metric, after some calls."""
    manager.update({"connectionBizId": "sc_abc123", "connectionName": "New"})
    ApiClient().get("/healthz")
    metrics.verifications("rejected", "expired").inc()
    metrics.uses("api_key", "ok").inc()
    metrics.restores("api_key").inc()
    metrics.DATABASE_ERRORS.labels("SQLITE_BUSY").inc()
    gauges.refresh()
    found = defaultdict(lambda: defaultdict(set), OF_PROMETHEUS)
    for family in text_string_to_metric_families(generate_latest().decode()):
        for sample in family.samples:
            for label, value in sample.labels.items() or [("", "")]:
                found[sample.name][label].add(value)
    return found


def test_alerts_and_panels_are_found():
    assert len(ALERTS) >= 15
    assert len(EXPRESSIONS) >= 40


def test_expressions_use_metrics_and_labels_that_are_exposed(exposed):
    """Otherwise, an alert with a renamed metric, label or route would never fire."""
    unknown = {name: sorted(unknown_names(name, exposed)) for name in EXPRESSIONS}

    assert {name: names for name, names in unknown.items() if names} == {}


def unknown_names(name, exposed):
    """Yield the metrics and labels of an expression that the service does not expose."""
    selectors = parts(name, VectorSelector)
    of_all = TARGET.union(*(exposed.get(selector.name, ()) for selector in selectors))
    for aggregation in parts(name, AggregateExpr):
        yield from {*(aggregation.modifier.labels if aggregation.modifier else ())} - of_all
    for selector in selectors:
        labels = exposed.get(selector.name)
        if labels is None:
            yield selector.name
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in {*labels, *TARGET} or not is_a_value(matcher, labels):
                yield f"{selector.name} {matcher.name}={matcher.value}"


def is_a_value(matcher, labels):
    """Whether a label can have this value, if all its values are known."""
    if matcher.op != MatchOp.Equal:
        return True
    if matcher.name == "route":
        return matcher.value in PROBES or resolve(f"/{matcher.value}").route == matcher.value
    return matcher.name not in {"age", "kind", "state"} or matcher.value in labels[matcher.name]


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expression_selects_the_job(name):
    """Other services also have an http_requests_total."""
    job = "stripe-connections" if name in {rule["alert"] for rule in ALERTS} else "$job"
    jobs = [
        {m.value for m in selector.matchers.matchers if m.name == "job"}
        for selector in parts(name, VectorSelector)
    ]

    assert jobs
    assert all(found == {job} for found in jobs)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_has_a_severity_a_description_and_a_runbook(rule):
    page, _, section = rule["annotations"]["runbook"].partition("#")

    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert section in anchors(ROOT / page)


def test_every_alert_is_documented_once():
    page = (ROOT / "docs/monitoring.md").read_text()
    named = re.findall(r"`([A-Z]\w+)`[,` ]", page[page.index("| about | alerts |") :])

    assert sorted(named) == sorted([*(rule["alert"] for rule in ALERTS), "NotReady"])


def test_dashboard_can_be_imported_with_any_data_source():
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(PANELS)

    assert DASHBOARD["schemaVersion"] >= 42
    assert {*re.findall(r'"uid": "([^"]*)"', text)} == {"${datasource}"}
    assert {"datasource", "job"} == variables
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_panels_do_not_overlap():
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_metric_is_documented(exposed):
    """A histogram or counter has one row, with the name that queries use."""
    page = (ROOT / "docs/monitoring.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    own = {
        re.sub(r"_(bucket|sum|count|created)$", "", name)
        for name in exposed
        if not name.startswith(("python_", "process_")) and not name.endswith("_created")
    }

    assert own - OF_PROMETHEUS.keys() <= documented
