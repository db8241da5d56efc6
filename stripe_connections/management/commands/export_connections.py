"""Write connections to a file that people can edit and import_connections takes back."""

from argparse import ArgumentParser
from typing import Any

from stripe_connections.bulk import command, file_formats, selection


class Command(command.ExplainedCommand):
    """Streams: a million rows take no more memory than a hundred."""

    help = (
        "Write connections to standard output, as CSV or JSON lines. Secrets are never in it, "
        "only their hints and fingerprints. import_connections takes the file back."
    )

    examples = """
export_connections > all.csv
export_connections --tenant tn_xyz789 --status ACTIVE --format json > active.jsonl
"""

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
        lines = file_formats.csv_lines if options["format"] == "csv" else file_formats.json_lines
        rows = connections.select_related("workspace__tenant").order_by("pk").iterator()
        self.stdout.writelines(lines(map(file_formats.exported, rows)))
