"""Create and update connections from CSV or JSON lines, as export_connections writes them.

Columns may be missing; apiKey and webhookSecret may be added. A row is found by its bizId, or
without one by workspaceId and connectionName. If one row is invalid, nothing is written, unless
--keep-going is given. Rows that the options below do not select are skipped.

Examples:
  manage.py import_connections edited.csv
  manage.py import_connections edited.csv --apply
  manage.py import_connections - --tenant tn_xyz789 --keep-going --apply < rows.jsonl
"""

from argparse import ArgumentParser
from contextlib import closing
from typing import Any

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, importing, selection
from stripe_connections.bulk.pipeline import Pipeline
from stripe_connections.bulk.report import Report


class Command(command.BulkCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", help="CSV or JSON lines in UTF-8; - is standard input")
        parser.add_argument(
            "--keep-going", action="store_true", help="import the good rows of a file with bad ones"
        )
        Pipeline.add_mode_argument(parser)

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        pipeline = Pipeline(report, actor, options)
        with (
            selection.open_input(options["file"]) as file,
            closing(importing.ImportPlanner(options)) as planner,
        ):
            report.start(importing.count_rows(file))
            batches = importing.batches(file, options["batch_size"])
            pipeline.run(batches, planner, is_whole=not options["keep_going"])
