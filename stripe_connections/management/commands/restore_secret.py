"""Write back secrets that were replaced in some connections, or by one run or request.

A command prints the ID of its run, and the audit has it, too. With --run, a secret that was
replaced again since then is skipped.

Examples:
  manage.py restore_secret sc_abc123 --field apiKey
  manage.py restore_secret --ids broken.txt --field webhookSecret --apply
  manage.py restore_secret --run replace_secret-1b0c… --apply
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.pipeline import Pipeline, RefusedError, planner_of
from stripe_connections.bulk.report import Report
from stripe_connections.models import SECRET_FIELDS, StripeConnection
from stripe_connections.undo import replaced
from stripe_connections.validation.serializers import SECRET_NAMES


class Command(command.BulkCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("connections", nargs="*", metavar="sc_…", help="business IDs")
        parser.add_argument("--field", choices=SECRET_NAMES, help="undo its last replacement")
        parser.add_argument("--run", metavar="ID", help="undo what this run or request replaced")

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        options["ids"] = options["connections"] or options["ids"]
        run, field = options["run"], options["field"]
        if not run and (field is None or options["ids"] is None):
            raise CommandError("Give --run, or --field and the connections.")
        names = [SECRET_FIELDS[SECRET_NAMES.index(field)]] if field else SECRET_FIELDS
        connections = selection.selected(options)
        if run:
            of_run = replaced.restorable().filter(request_id=run)
            connections = connections.filter(pk__in=of_run.values("connection"))
            if not connections.exists():
                raise CommandError("No secret that can be restored was replaced by this run.")

        def wanted(connection: StripeConnection) -> dict[str, str] | None:
            versions = replaced.versions_of(connection, run) if run else dict.fromkeys(names)
            try:
                return {
                    name: replaced.secret_to_restore(connection, name, versions[name])
                    for name in names
                    if name in versions
                } or None
            except replaced.RestoreError as error:
                raise RefusedError(error.message) from None

        batches = selection.batches(connections, options, report)
        options |= {"allow_mode_change": True, "is_restore": True}
        Pipeline(report, actor, options).run(batches, planner_of(wanted))
