"""No response repeats the request, because any part of it may contain a secret."""

import json

import pytest

from tests.conftest import update_path

pytestmark = pytest.mark.only_on("sqlite", reason="bad values do not reach the database")

# Part of every planted value; long enough not to occur by chance.
CANARY = "C4n4ry" * 4
KEY = "sk_" + "live_" + CANARY
WEBHOOK_SECRET = "whsec_" + CANARY

BODY = '{"connectionBizId": "sc_abc123"}'
PLANTED = [
    {"apiKey": "pk_" + CANARY},
    {"apiKey": CANARY},
    {"apiKey": WEBHOOK_SECRET},
    {"apiKey": f"{KEY} {CANARY}"},
    {"apiKey": f"{KEY}\n-{CANARY}"},
    {"apiKey": f"{KEY}****"},
    {"apiKey": f"{KEY}\0"},
    {"apiKey": f"{KEY}\ud800"},
    {"apiKey": KEY * 60},
    {"apiKey": [KEY]},
    {"apiKey": {KEY: KEY}},
    {"webhookSecret": KEY},
    {"webhookSecret": "we_" + CANARY},
    {"webhookSecret": f"{WEBHOOK_SECRET}…"},
    {"webhookSecret": f"{WEBHOOK_SECRET} {CANARY}"},
    {"connectionName": KEY * 20},
    {"connectionName": f"{KEY}\a"},
    {"connectionDescription": f"{KEY}\a"},
    {"stripeAccountId": KEY},
    {"stripeAccountId": f"acct_{CANARY}_"},
    {"partnerEndpoint": KEY},
    {"partnerEndpoint": f"https://user:{KEY}@example.com/"},
    {"partnerEndpoint": f"https://example.com/#{KEY}"},
    {"partnerEndpoint": f"https://{CANARY}.internal/"},
    {"partnerEndpoint": f"https://example.com:{CANARY}/"},
    {"configJson": KEY},
    {"configJson": f'{{"key": "{KEY}", "key": 1}}'},
    {"configJson": f'["{KEY}"]'},
    {"configJson": f'{{"key": "{KEY}"'},
    {"connectionBizId": KEY},
    {"connectionBizId": KEY * 5},
    {"status": [KEY, "\0"]},
    {KEY: "apiKey"},
    {KEY.upper(): "apiKey"},
    {WEBHOOK_SECRET: 1},
    {CANARY: 1},
    {f"my_{CANARY}": 1},
    {f"key {CANARY}": 1},
    {"key": KEY},
    {"secret": {"value": KEY}},
]


def repeated(responses):
    """Return the responses that contain the canary in any case."""
    return [each for each in responses if CANARY.lower() in each.serialize().decode().lower()]


def test_refused_field_is_not_repeated(manager, connection):
    responses = [manager.update({"connectionBizId": "sc_abc123"} | planted) for planted in PLANTED]

    assert {response.status_code for response in responses} == {400, 404}
    assert [response.content for response in repeated(responses)] == []


BODIES = [
    KEY,
    f'"{KEY}"',
    f'["{KEY}"]',
    f'{{"apiKey": "{KEY}"',
    f'{{"apiKey": {KEY}}}',
    f'{{"apiKey": "{KEY}", "apiKey": "{KEY}"}}',
    f'{{"{KEY}": 1, "{KEY}": 2}}',
    json.dumps({"apiKey": KEY}) + "\ufeff",
]


def test_refused_body_is_not_repeated(manager, connection):
    responses = [manager.update(body.encode()) for body in BODIES]

    assert {response.status_code for response in responses} == {400}
    assert [response.content for response in repeated(responses)] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": f"application/json; charset={CANARY}"}, 415),
        ({"Content-Type": f"text/{CANARY}"}, 415),
        ({"Accept": f"text/{CANARY}"}, 406),
        ({"If-Match": f'"{CANARY}"'}, 412),
        ({"Host": f"{CANARY}.example"}, 400),
        ({"Authorization": f"Bearer {KEY}"}, 401),
        ({"Authorization": f"{CANARY} x"}, 401),
        ({"X-Request-Id": f"{KEY} {CANARY}"}, 200),
    ],
    ids=range(8),
)
def test_header_is_not_repeated(manager, connection, headers, status):
    response = manager.generic("POST", update_path(), BODY, "application/json", headers=headers)

    assert response.status_code == status
    assert CANARY not in response.serialize().decode()


@pytest.mark.parametrize(
    "path", [update_path(CANARY), f"/web/{CANARY}", f"{update_path()}{CANARY}"]
)
def test_path_is_not_repeated(manager, connection, path):
    response = manager.post(path, {}, content_type="application/json")

    assert response.status_code in {403, 404, 405}
    assert CANARY not in response.serialize().decode()


def test_stored_secret_is_not_in_the_response(manager, connection):
    response = manager.update(
        {"connectionBizId": "sc_abc123", "apiKey": KEY, "webhookSecret": WEBHOOK_SECRET}
    )

    assert response.status_code == 200
    assert CANARY not in response.serialize().decode()
    assert response.json()["data"].keys().isdisjoint({"apiKey", "webhookSecret"})
