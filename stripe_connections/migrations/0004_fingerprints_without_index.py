from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('stripe_connections', '0003_admin'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='stripeconnection',
            name='connection_api_key_holder',
        ),
        migrations.RemoveIndex(
            model_name='stripeconnection',
            name='connection_webhook_holder',
        ),
    ]
