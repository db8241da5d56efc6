"""A secret that was copied to another row, field or workspace cannot be decrypted there."""

from collections import Counter

import pytest
from cryptography.fernet import Fernet
from django.core.checks import Tags, run_checks

from stripe_connections.models import StripeConnection
from tests.conftest import ApiClient, plain_secrets, random_api_key, set_columns
from tests.stripe_connections.admin.conftest import LIST, change_url, messages, text
from tests.stripe_connections.bulk.conftest import run
from workspaces.models import Role

ENDS = ("", "_hint", "_fingerprint", "_replaced_at")
ONE_DATABASE = pytest.mark.only_on("sqlite", reason="the other tests here run on both")
COLUMNS = [name + end for name in ("api_key", "webhook_secret") for end in ENDS]
BROKEN = {"swapped": ["sc_abc123", "sc_other"], "moved": ["sc_abc123"], "crossed": ["sc_abc123"]}


@pytest.fixture(params=BROKEN)
def kind(request):
    """How SQL put secrets in the wrong place, with their hints, fingerprints and dates."""
    return request.param


@pytest.fixture
def copied(kind, connection, workspace, sibling_workspace, make_connection, stored):
    """The connections with copied secrets; one more connection has its own secrets."""
    other = make_connection(workspace, "sc_other")
    make_connection(workspace, "sc_sound")
    row, other_row = stored(connection), stored(other)
    crossed = dict(zip(COLUMNS, [row[name] for name in COLUMNS[4:] + COLUMNS[:4]], strict=True))
    columns = {
        "swapped": {name: other_row[name] for name in COLUMNS},
        "moved": {"workspace_id": sibling_workspace.pk},
        "crossed": crossed,
    }[kind]
    set_columns(connection, **columns)
    if kind == "swapped":
        set_columns(other, **{name: row[name] for name in COLUMNS})
    return list(StripeConnection.objects.filter(biz_id__in=BROKEN[kind]).order_by("pk"))


@pytest.fixture
def new_key(copied, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]


@ONE_DATABASE
def test_list_marks_both_secrets(staff, copied):
    assert text(staff.get(LIST)).count("badge unreadable") == 2 * len(copied)


@ONE_DATABASE
def test_form_marks_both_secrets(staff, copied):
    assert text(staff.get(change_url(copied[0]))).count("badge unreadable") == 2


def test_key_is_not_sent_to_stripe(copied, stripe, make_user):
    workspace = copied[0].workspace
    user = make_user("member", workspace, Role.MANAGER)
    response = ApiClient(user).call("verify", workspace_id=workspace.biz_id)

    (error,) = response.json()["errors"]
    assert (response.status_code, error["code"]) == (400, "unreadable")
    assert stripe.keys == []


def test_check_connections_finds_both_secrets(copied):
    result = run("check_connections")

    assert Counter((row["bizId"], row["code"]) for row in result.json["rows"]) == {
        (connection.biz_id, "undecryptable"): 2 for connection in copied
    }


def test_census_counts_both_secrets(copied):
    result = run("census_secrets")

    assert (result.code, result.json["secrets"]["unreadable"]) == (1, 2 * len(copied))


def test_check_at_the_start_warns(copied):
    ids = [message.id for message in run_checks(tags=[Tags.database], databases=["default"])]

    assert ids == ["stripe_connections.W003"]


def test_rotation_fails_and_does_not_change_them(copied, new_key, stored, kind):
    before = [stored(connection) for connection in copied]

    result = run("rotate_secrets", "--apply")

    assert (result.code, result.counts[3]) == (1, len(copied))
    assert [row["bizId"] for row in result.json["rows"]] == BROKEN[kind]
    assert [stored(connection) for connection in copied] == before


@ONE_DATABASE
def test_reencryption_in_the_admin_does_not_change_them(staff, copied, new_key, stored):
    before = [stored(connection) for connection in copied]

    (message,) = messages(staff.act("reencrypt", *copied))

    assert message.startswith(f"{len(copied)} failed: ")
    assert [stored(connection) for connection in copied] == before


def test_update_with_new_secrets_repairs_them(copied, make_user):
    workspace = copied[0].workspace
    user = make_user("member", workspace, Role.MANAGER)
    secrets = random_api_key(), "whsec_" + "a" * 24
    body = {"connectionBizId": "sc_abc123", "apiKey": secrets[0], "webhookSecret": secrets[1]}

    assert ApiClient(user).update(body, workspace.biz_id).status_code == 200
    assert plain_secrets(StripeConnection.objects.get(biz_id="sc_abc123")) == secrets
