"""Secrets appear nowhere except, encrypted, in their columns.

Each test plants every secret, makes a call, and then searches all output and all stored data for
each secret and for each half of it. `test_search.py` leaks a secret on purpose, to prove that the
search works.
"""

import logging
import secrets
import traceback
from dataclasses import dataclass, field

import pytest
from auditlog.models import LogEntry
from django.conf import settings as project_settings
from django.contrib.auth.models import User
from django.db import connection as database
from django.db import connections
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from config.observability.requests import JSONFormatter, TerminalFormatter
from tests.conftest import ApiClient, random_api_key, random_webhook_secret
from workspaces.models import Role

LOGIN = "/web/v1/auth/token"
CONNECTIONS = "/web/v1/workspaces/ws_demo/stripe/connections"


@dataclass
class Canaries:
    """The planted secrets, and the collected texts to search."""

    planted: dict[str, str]
    collected: list[tuple[str, bytes]] = field(default_factory=list)

    def collect(self, where, *things):
        for thing in things:
            self.collected.append(
                (where, thing if isinstance(thing, bytes) else str(thing).encode())
            )

    def found(self):
        """Return the place and the name of each secret that was found, whole or half."""
        return {
            (where, name)
            for where, text in self.collected
            for name, secret in self.planted.items()
            for half in (secret[: len(secret) // 2], secret[len(secret) // 2 :])
            if half.encode() in text
        }


@pytest.fixture
def canaries(settings, workspace, connection, make_user):
    """Plant every secret; the connection stores the first two."""
    user = make_user("canary", workspace, Role.MANAGER)
    planted = {
        "apiKey": random_api_key(),
        "webhookSecret": random_webhook_secret(),
        "portal code": secrets.token_urlsafe(32),
        "password": secrets.token_urlsafe(32),
        "signing key": project_settings.SIMPLE_JWT["SIGNING_KEY"],
        "SECRET_KEY": project_settings.SECRET_KEY,
        "first Fernet key": project_settings.FERNET_KEYS[0],
        "second Fernet key": project_settings.FERNET_KEYS[1],
    }
    settings.PORTAL_ACCESS_CODE = planted["portal code"]
    user.set_password(planted["password"])
    user.save()
    connection.replace_secret("api_key", planted["apiKey"])
    connection.replace_secret("webhook_secret", planted["webhookSecret"])
    connection.save()
    return Canaries(planted)


@pytest.fixture
def client(canaries):
    user = User.objects.get(username="canary")
    client = ApiClient(user, headers={"X-Portal-Access-Code": canaries.planted["portal code"]})
    canaries.planted["access token"] = client.defaults["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    return client


@pytest.fixture
def everything_logged(caplog, monkeypatch):
    """Set every logger to DEBUG, including SQL with its parameters."""
    for name in ["", *logging.root.manager.loggerDict]:
        caplog.set_level(logging.DEBUG, logger=name or None)
    monkeypatch.setattr(connections["default"], "force_debug_cursor", True)
    caplog.clear()
    return caplog


def raw_database():
    """Return every byte of the SQLite database, or every value in PostgreSQL's tables."""
    if database.vendor == "sqlite":
        return bytes(database.connection.serialize())
    parts = []
    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            parts += [value for row in cursor.fetchall() for value in row]
    return b"\n".join(
        bytes(part) if isinstance(part, bytes | memoryview) else str(part).encode()
        for part in parts
    )


@pytest.fixture
def look_everywhere(canaries, everything_logged, capfd):
    """Return a function that collects responses, logs, output, audit and database, and searches."""

    def look(*responses):
        for response in responses:
            canaries.collect("response", response.content, *response.headers.items())
        for record in everything_logged.records:
            canaries.collect("log", everything_logged.handler.format(record), vars(record))
            formatters = (JSONFormatter(), TerminalFormatter())
            canaries.collect("written log", *(each.format(record) for each in formatters))
        canaries.collect("output", *capfd.readouterr())
        canaries.collect("audit", *LogEntry.objects.values())
        canaries.collect("database", raw_database())
        return canaries.found()

    return look


def secret_body(canaries, **more):
    names = ("apiKey", "webhookSecret")
    return {"connectionBizId": "sc_abc123"} | {n: canaries.planted[n] for n in names} | more


def create(client, body, key):
    headers = {"Idempotency-Key": key}
    path = f"{CONNECTIONS}/create"
    return client.post(path, body, content_type="application/json", headers=headers)


def new_secrets(canaries, **more):
    body = {name: canaries.planted[name] for name in ("apiKey", "webhookSecret")}
    return {"connectionName": "New"} | body | more


def crash_of(call):
    """Return the exception that `call` raises."""
    try:
        call()
    except Exception as error:  # the test searches any exception
        return error
    raise AssertionError("nothing was raised")


def chain(error):
    """Yield an exception and its causes and contexts."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def described(error):
    for link in chain(error):
        yield from (str(link), repr(link), repr(link.args), repr(getattr(link, "detail", None)))
        yield repr(getattr(link, "errors", None))
    yield from traceback.format_exception(error)


def error_page(canaries, render, **attributes):
    """Return Django's error page for a request that contains every secret."""
    planted = canaries.planted
    request = RequestFactory().post(
        "/admin/",
        {"api_key": planted["apiKey"], "webhook_secret": planted["webhookSecret"]},
        headers={
            "X-Portal-Access-Code": planted["portal code"],
            "Authorization": f"Bearer {planted['signing key']}",
            "Cookie": f"sessionid={planted['password']}",
        },
    )

    vars(request).update(attributes)

    def crash():
        local = dict(planted)
        raise RuntimeError("boom") from KeyError(len(local))

    crash_of_it = crash_of(crash)
    reporter = ExceptionReporter(
        request, type(crash_of_it), crash_of_it, crash_of_it.__traceback__, is_email=False
    )
    return getattr(reporter, render)()
