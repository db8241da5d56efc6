"""Write connections to a file that people can edit and import_connections takes back."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from stripe_connections.bulk import command, exchange, selection

EXAMPLES = """
export_connections > all.csv
export_connections --tenant tn_xyz789 --status ACTIVE --format json > active.jsonl
"""


class Command(BaseCommand):
    """Streams: a million rows take no more memory than a hundred."""

    help = (
        "Write connections to standard output, as CSV or JSON lines. Secrets are never in it, "
        "only their hints and fingerprints. import_connections takes the file back."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, **kwargs, **command.help_with_examples(EXAMPLES)
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        selection.add_selection_arguments(parser)
        parser.add_argument(
            "--format",
            choices=("csv", "json", "jsonl"),
            default="csv",
            help="json and jsonl are both JSON lines (default: csv)",
        )

    def handle(self, **options: Any) -> None:
        """Select once, and write each row as it comes."""
        connections = selection.selected(options)
        if options["ids"]:
            connections = connections.filter(biz_id__in=selection.read_ids(options["ids"]))
        rows = map(
            exchange.exported,
            connections.select_related("workspace__tenant").order_by("pk").iterator(),
        )
        write = exchange.write_csv if options["format"] == "csv" else exchange.write_json_lines
        write(rows, self.stdout)
