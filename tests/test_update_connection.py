"""The documented call, as documented."""

from stripe_connections.models import StripeConnection


def test_documented_example(manager, connection):
    response = manager.update(
        {
            "connectionBizId": "sc_abc123",
            "connectionName": "Updated Stripe Connection",
            "connectionDescription": "Updated description",
        }
    )

    connection.refresh_from_db()
    body = response.json()
    timestamp = body["timestamp"]
    created = connection.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    updated = connection.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert response.status_code == 200
    assert response.content.decode() == (
        f'{{"version":"1.3.0","timestamp":{timestamp},"success":true,"code":"2000",'
        '"message":"SUCCESS","data":{"bizId":"sc_abc123","tenantBizId":"tn_xyz789",'
        '"connectionName":"Updated Stripe Connection",'
        '"connectionDescription":"Updated description","stripeAccountId":"acct_1234567890",'
        '"partnerEndpoint":"https://partner.example.com/webhook","configJson":null,"status":1,'
        f'"statusName":"ACTIVE","createdAt":"{created}","updatedAt":"{updated}"}}}}'
    )


def test_update_is_written(manager, connection):
    manager.update({"connectionBizId": "sc_abc123", "connectionName": "New"})

    assert StripeConnection.objects.get(biz_id="sc_abc123").connection_name == "New"
