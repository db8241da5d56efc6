"""Delete the replaced secrets that can no longer be restored. Run it once a day.

Example:
  manage.py delete_replaced_secrets
"""

from typing import Any

from config.delete_expired import delete_expired
from stripe_connections.bulk.command import PlainCommand
from stripe_connections.undo import replaced


class Command(PlainCommand):
    def handle(self, **options: Any) -> None:
        total = 0
        while count := delete_expired(replaced.expired()):
            total += count
        self.stdout.write(f"{total} replaced secrets deleted.")
