"""Create and update connections from a file, all of it or none."""

from argparse import ArgumentParser
from typing import Any

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, importing, selection
from stripe_connections.bulk.pipeline import Pipeline
from stripe_connections.bulk.report import Report
from stripe_connections.stripe_api.verification import Verifier


class Command(command.BulkCommand):
    """All rows in one transaction, or each batch with `--keep-going`."""

    help = (
        "Create and update connections from CSV or JSON lines, as export_connections writes them; "
        "columns may be left out. A row is found by bizId, or without one by workspaceId and "
        "connectionName. One bad row stops the whole file unless --keep-going is given. apiKey and "
        "webhookSecret may be in the file. Rows that the options below do not pick are skipped."
    )
    examples = """
import_connections edited.csv
import_connections edited.csv --apply
import_connections - --tenant tn_xyz789 --keep-going --apply < rows.jsonl
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", help="CSV or JSON lines in UTF-8; - is standard input")
        parser.add_argument(
            "--keep-going", action="store_true", help="import the good rows of a file with bad ones"
        )
        Verifier.add_argument(parser)

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        pipeline = Pipeline(report, actor, options)
        with selection.open_input(options["file"]) as file:
            report.start(selection.count_lines(file))
            batches = importing.batches(file, options["batch_size"])
            planner = importing.ImportPlanner(options)
            if options["keep_going"]:
                pipeline.run(batches, planner)
            else:
                pipeline.run_whole(batches, planner)
