"""After an error, a typed secret must be typed again, because no page shows it."""

import pytest

from stripe_connections.models import StripeConnection
from tests.conftest import plain, random_api_key, random_webhook_secret
from tests.stripe_connections.admin.conftest import ADD, change_url, text

pytestmark = pytest.mark.only_on("sqlite", reason="the form is the same")

BAD = {"partner_endpoint": "http://partner.example.com"}
SECRETS = pytest.mark.parametrize(
    ("name", "make"), [("api_key", random_api_key), ("webhook_secret", random_webhook_secret)]
)


def errors(response):
    return list(response.context_data["adminform"].form.errors)


def again(response, **typed):
    """Return the data that the page sends after `typed` was entered; secrets are empty."""
    form = response.context_data["adminform"].form
    values = {bound.html_name: bound.value() or "" for bound in form}
    return values | {"api_key": "", "webhook_secret": "", "partner_endpoint": ""} | typed


@SECRETS
def test_secret_must_be_typed_again(unrendered, staff, connection, stored, name, make):
    before = stored(connection)
    url = change_url(connection)

    first = staff.save(url, **{name: make()}, **BAD)
    second = staff.post(url, again(first))
    third = staff.post(url, again(second))

    assert set(errors(first)) == {"partner_endpoint", name}
    assert errors(second) == errors(third) == [name]
    assert stored(connection) == before


@SECRETS
def test_secret_that_is_typed_again_is_saved(unrendered, staff, connection, name, make):
    secret = make()
    first = staff.save(change_url(connection), **{name: make()}, **BAD)

    response = staff.post(change_url(connection), again(first, **{name: secret}))

    assert response.status_code == 302
    assert plain(StripeConnection.objects.with_secrets().get(), name) == secret


@SECRETS
def test_stored_secret_can_be_kept(unrendered, staff, connection, stored, name, make):
    before = stored(connection)
    first = staff.save(change_url(connection), **{name: make()}, **BAD)

    typed = {f"keep_{name}": "on", "connection_name": "New"}
    response = staff.post(change_url(connection), again(first, **typed))

    after = stored(connection)
    assert response.status_code == 302
    assert (after["connection_name"], after[name]) == ("New", before[name])


@SECRETS
def test_box_is_shown_only_after_an_error_with_a_typed_secret(staff, connection, name, make):
    page = text(staff.get(change_url(connection)))
    refused = text(staff.save(change_url(connection), **{name: make()}, **BAD))
    other = text(staff.save(change_url(connection), **BAD))

    box = f'<input type="checkbox" name="keep_{name}"'
    assert box in refused
    assert box not in page + other


def test_key_must_be_typed_again_after_a_conflict(unrendered, staff, manager, connection, stored):
    opened = staff.form(change_url(connection))
    manager.update({"connectionBizId": "sc_abc123", "connectionName": "By the customer"})
    before = stored(connection)

    conflict = staff.post(change_url(connection), opened | {"api_key": random_api_key()})
    second = staff.post(change_url(connection), again(conflict))

    assert errors(conflict) == ["__all__", "api_key"]
    assert errors(second) == ["api_key"]
    assert stored(connection) == before


def test_key_of_a_new_connection_must_be_typed_again(unrendered, staff, workspace):
    form = staff.form(ADD) | {"workspace": workspace.pk, "connection_name": "New"}

    first = staff.post(ADD, form | BAD | {"api_key": random_api_key()})
    second = staff.post(ADD, again(first))
    third = staff.post(ADD, again(second, keep_api_key="on"))

    assert errors(second) == ["api_key"]
    assert third.status_code == 302
    assert StripeConnection.objects.get().api_key_hint is None
