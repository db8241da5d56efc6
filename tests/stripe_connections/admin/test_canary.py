"""No page, log line or session of the admin contains a secret."""

import logging

import pytest
from django.urls import reverse

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from tests.conftest import random_api_key, random_webhook_secret
from tests.fake_stripe import OTHER
from tests.stripe_connections.admin.conftest import (
    ADD,
    AUDIT,
    FIND,
    LIST,
    change_url,
    history_url,
    text,
)


@pytest.fixture
def canaries():
    """The stored key and webhook secret, and the ones that are typed."""
    return [random_api_key(), random_webhook_secret(), random_api_key(), random_webhook_secret()]


@pytest.fixture
def planted(connection, workspace, canaries):
    services.update_connection(
        workspace=workspace,
        biz_id="sc_abc123",
        changes={"api_key": canaries[0], "webhook_secret": canaries[1]},
        actor=Actor(None, Source.COMMAND),
    )
    return StripeConnection.objects.get(pk=connection.pk)


@pytest.fixture
def pages_of_connections(planted):
    return [
        "/admin/", LIST, f"{LIST}?q=sc_", AUDIT, change_url(planted), history_url(planted),
        f"{LIST}{planted.pk}/delete/",
    ]  # fmt: skip


@pytest.fixture
def pages(pages_of_connections, workspace):
    return [
        *pages_of_connections,
        "/admin/stripe_connections/", ADD, FIND,
        reverse("admin:workspaces_tenant_changelist"),
        reverse("admin:workspaces_workspace_changelist"),
        reverse("admin:workspaces_workspace_change", args=[workspace.pk]),
        reverse("admin:workspaces_workspace_history", args=[workspace.pk]),
        reverse("admin:workspaces_workspace_delete", args=[workspace.pk]),
        reverse("admin:auth_user_changelist"),
        f"{LIST}?api_key__startswith=sk_",
        f"{ADD}?api_key=x",
        f"{LIST}nothing/change/",
    ]  # fmt: skip


def test_no_page_or_log_shows_a_secret(
    superuser, support, planted, workspace, pages, pages_of_connections, canaries, caplog, damage
):
    caplog.set_level(logging.DEBUG)
    stored_key, _, new_key, new_webhook = canaries
    form = superuser.form(change_url(planted))
    add = {"workspace": workspace.pk, "connection_name": "New", "status": "1"}

    responses = [
        *(superuser.get(url) for url in pages_of_connections),
        superuser.post(FIND, {"secret": stored_key}),
        superuser.get(LIST, {"q": stored_key}),
        superuser.post(change_url(planted), form | {"api_key": new_key, "config_json": "["}),
        superuser.post(change_url(planted), form | {"api_key": f"{new_key}!"}),
        superuser.post(change_url(planted), form | {"webhook_secret": new_key}),
        superuser.post(change_url(planted), form | {"seen_version": 1, "api_key": new_key}),
        support.post(change_url(planted), form | {"api_key": new_key}),
        superuser.post(
            change_url(planted), form | {"api_key": new_key, "webhook_secret": new_webhook}
        ),
        superuser.post(ADD, add | {"api_key": new_key, "stripe_account_id": "x"}),
        superuser.post(ADD, add | {"api_key": new_key}),
        superuser.act("reencrypt", planted),
        superuser.act("deactivate", planted),
        superuser.act("deactivate", planted, confirmed="yes"),
        superuser.act("export", planted),
        *(client.get(url) for client in (superuser, support) for url in pages),
    ]
    damage(planted)
    responses += [superuser.get(url) for url in pages_of_connections]

    shown = "".join(map(text, responses)) + caplog.text + str(dict(superuser.session.items()))
    assert StripeConnection.objects.holding(new_key).count() == 2
    assert [secret for secret in canaries if secret in shown] == []
    assert [secret for secret in canaries if secret[:-4] in shown] == []


@pytest.mark.only_on("sqlite", reason="Stripe's replies are the same")
def test_no_page_or_log_shows_a_secret_if_keys_are_verified(
    superuser, planted, workspace, pages_of_connections, canaries, caplog, stripe
):
    caplog.set_level(logging.DEBUG)
    stored_key, _, new_key, _ = canaries
    canaries.append(test_key := random_api_key("sk_test_"))
    url = change_url(planted)
    form = superuser.form(url)
    add = {"workspace": workspace.pk, "connection_name": "New", "status": "1"}

    stripe.rejects()
    responses = [
        superuser.post(url, form | {"api_key": new_key}),
        superuser.post(url, form | {"stripe_account_id": OTHER}),
        superuser.post(url, form | {"api_key": test_key}),
        superuser.post(url, form | {"api_key": test_key, "allow_mode_change": "on"}),
        superuser.post(ADD, add | {"api_key": new_key}),
        superuser.act("verify", planted),
        *(superuser.get(url) for url in pages_of_connections),
    ]
    stripe.knows(OTHER)
    responses += [
        superuser.post(url, form | {"api_key": new_key}),
        superuser.post(ADD, add | {"api_key": new_key, "stripe_account_id": OTHER}),
        superuser.act("verify", planted),
    ]
    stripe.repeats(503)
    responses += [
        superuser.post(ADD, add | {"api_key": new_key}),
        superuser.act("verify", planted),
        *(superuser.get(url) for url in pages_of_connections),
    ]

    shown = "".join(map(text, responses)) + caplog.text + str(dict(superuser.session.items()))
    assert {stored_key, new_key, test_key} == {*stripe.keys}
    assert StripeConnection.objects.holding(new_key).count() == 2
    assert [secret for secret in canaries if secret in shown] == []
    assert [secret for secret in canaries if secret[:-4] in shown] == []
