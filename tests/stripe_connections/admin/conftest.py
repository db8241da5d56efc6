"""Staff users with logged-in clients, and helpers for the admin's pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.contrib.sessions.backends.db import SessionStore
from django.template.response import TemplateResponse
from django.test import Client
from django.urls import reverse

from stripe_connections.models import StripeConnection
from tests.conftest import set_columns

LIST = "/admin/stripe_connections/stripeconnection/"
ADD = f"{LIST}add/"
FIND = f"{LIST}find-by-key/"
AUDIT = "/admin/stripe_connections/auditrecord/"
EDITING = (
    "add_stripeconnection",
    "change_stripeconnection",
    "view_stripeconnection",
    "view_workspace",
)
BACKEND = "django.contrib.auth.backends.ModelBackend"


@contextmanager
def not_rendering() -> Iterator[None]:
    """Leave pages empty: to render one takes longer than the rest of its request."""
    with patch.object(TemplateResponse, "rendered_content", ""):
        yield


class StaffClient(Client):
    """A client without JavaScript, behind a proxy that terminates TLS."""

    def __init__(self, user: User | None = None) -> None:
        super().__init__(headers={"X-Forwarded-Proto": "https", "X-Request-Id": "request-1"})
        if user:
            self.log_in(user)

    def log_in(self, user: User) -> None:
        """Start a session like a login, but without the queries of a login."""
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = BACKEND
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        self.cookies[settings.SESSION_COOKIE_NAME] = session.session_key

    def peek(self, url: str, query: Any = None) -> dict[str, Any]:
        """Return the context of a page without rendering it."""
        with not_rendering():
            shown: dict[str, Any] = self.get(url, query).context_data
        return shown

    def form(self, url: str) -> dict[str, Any]:
        """Return the data that the form at `url` sends if it is not changed."""
        form = self.peek(url)["adminform"].form
        values = {bound.html_name: bound.value() for bound in form}
        return {name: "" if value is None else value for name, value in values.items()}

    def save(self, url: str, **typed: Any) -> Any:
        """Open the form, change the `typed` fields, and save."""
        return self.post(url, self.form(url) | typed)

    def act(self, action: str, *connections: StripeConnection, **data: Any) -> Any:
        """Run an action on rows of the list."""
        chosen = [connection.pk for connection in connections]
        data = {"action": action, "_selected_action": chosen, "index": 0} | data
        return self.post(LIST, data)


def change_url(connection: StripeConnection) -> str:
    return reverse("admin:stripe_connections_stripeconnection_change", args=[connection.pk])


def history_url(connection: StripeConnection) -> str:
    return reverse("admin:stripe_connections_stripeconnection_history", args=[connection.pk])


def text(response: Any) -> str:
    """Return the whole response, including the headers."""
    return f"{response.headers}\n{response.getvalue().decode()}"


def messages(response: Any) -> list[str]:
    """Return the messages that this page shows, or the page that it redirects to."""
    return [str(message) for message in get_messages(response.wsgi_request)]


@cache
def permission_ids() -> dict[str, int]:
    """The ID of each permission; tests do not change them."""
    return dict(Permission.objects.values_list("codename", "pk"))


@pytest.fixture
def make_staff(make_user: Any) -> Any:
    def make(username: str, *codenames: str) -> StaffClient:
        user = make_user(username, is_staff=True)
        given = User.user_permissions.through.objects
        ids = [permission_ids()[codename] for codename in codenames]
        given.bulk_create(given.model(user=user, permission_id=pk) for pk in ids)
        return StaffClient(user)

    return make


@pytest.fixture
def staff(make_staff: Any) -> StaffClient:
    client: StaffClient = make_staff("staff", *EDITING, "replace_secrets", "view_tenant")
    return client


@pytest.fixture
def colleague(make_staff: Any) -> StaffClient:
    """A user who may change connections, but not replace secrets."""
    client: StaffClient = make_staff("colleague", *EDITING)
    return client


@pytest.fixture
def support(make_staff: Any) -> StaffClient:
    """A user who may only view connections."""
    client: StaffClient = make_staff("support", "view_stripeconnection")
    return client


@pytest.fixture
def superuser(db: None) -> StaffClient:
    return StaffClient(User.objects.create_superuser("root", password="password of root"))


@pytest.fixture
def damage() -> Any:
    """Return a function that makes a stored secret undecryptable."""

    def overwrite(connection: StripeConnection, name: str = "api_key") -> None:
        set_columns(connection, **{name: b"damaged"})

    return overwrite


@pytest.fixture
def unrendered() -> Iterator[None]:
    """Pages are empty; the test looks at `response.context_data`."""
    with not_rendering():
        yield
