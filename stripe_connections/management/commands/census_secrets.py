"""Count the secrets by the key of FERNET_KEYS that they are encrypted under.

Replaced secrets that can still be restored are counted, and so are unreadable, empty and plaintext
secrets. The exit code is 1 while a retired key is needed or a secret cannot be decrypted.

Examples:
  manage.py census_secrets
  manage.py census_secrets --tenant tn_xyz789 --format json
"""

from typing import Any

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.census import COUNTED, Census
from stripe_connections.bulk.report import Report
from stripe_connections.models import StripeConnection
from stripe_connections.undo import replaced


class Command(command.BulkCommand):
    only_reads = True

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> dict[str, Any]:
        census = Census()
        for pks in selection.batches(selection.selected(options), options, report):
            connections = StripeConnection.objects.filter(pk__in=pks)
            kept = replaced.by_connection(pks)
            for row in connections.values_list(*COUNTED, named=True):
                is_fine = census.count(row, kept[row.pk])
                report.row("unchanged" if is_fine else "failed", row.biz_id)
            report.advance(len(pks))
        for kind, count in census.secrets.items():
            examples = ", ".join(census.examples.get(kind, ()))
            report.text(f"{kind:10}  {count:9}{f'  such as {examples}' if examples else ''}")
        # A selection of connections does not show which keys are unused.
        droppable = census.droppable if selection.is_everything(options) else []
        for key in census.retired_in_use:
            report.text(f"{key} is still needed. Run rotate_secrets --apply.")
        for key in droppable:
            report.text(f"{key} can be removed from FERNET_KEYS.")
        return {
            "secrets": dict(census.secrets),
            "examples": census.examples,
            "stillNeeded": census.retired_in_use,
            "canBeDropped": droppable,
        }
