"""One name for a leaked secret, and no index that only the deletion of replaced secrets used."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stripe_connections", "0014_list_by_name")]

    operations = [
        migrations.RenameModel("BurntSecret", "LeakedSecret"),
        migrations.RenameField("LeakedSecret", "burnt_at", "reported_at"),
        migrations.AlterField("ReplacedSecret", "replaced_at", models.DateTimeField()),
    ]
