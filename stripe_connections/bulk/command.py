"""What the commands on many connections share: options, exit codes, the summary at the end."""

import uuid
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from django.db import DatabaseError

from stripe_connections.audit.records import Actor, Source
from stripe_connections.bulk.report import Report
from stripe_connections.bulk.selection import add_selection_arguments, read_ids

MAX_BATCH_SIZE = 5_000


class ExplainedCommand(BaseCommand):
    """A command whose help ends with `examples`, line by line."""

    examples = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        lines = (f"  manage.py {line}" for line in self.examples.strip().splitlines())
        epilog = "\n".join(("examples:", *lines))
        return super().create_parser(
            prog_name, subcommand, formatter_class=_HelpFormatter, epilog=epilog, **kwargs
        )


class BulkCommand(ExplainedCommand):
    """A command on many connections.

    A subclass has `help`, `examples`, and `run`, which does the work and tells the report. The
    exit code is 1 where anything failed, and 130 after Ctrl-C; what was finished by then stays.
    """

    only_reads = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_selection_arguments(parser)
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument(
            "--batch-size",
            type=_batch_size,
            default=1_000,
            metavar="N",
            help="rows for each transaction (default: 1000)",
        )
        if not self.only_reads:
            parser.add_argument(
                "--apply", action="store_true", help="write; without it nothing is changed"
            )

    def handle(self, **options: Any) -> None:
        """Run, sum up, and fail where a row did."""
        command = type(self).__module__.rpartition(".")[2]
        # One id for all that this run writes to the audit.
        actor = Actor(None, Source.COMMAND, f"{command}-{uuid.uuid4()}")
        report = Report(self.stdout, self.stderr, is_json=options["format"] == "json")
        figures: dict[str, Any] = {}
        problem = ""
        code = 1
        try:
            options["ids"] = read_ids(options["ids"]) if options["ids"] else None
            figures = self.run(report, actor, options) or {}
        except KeyboardInterrupt:
            problem, code = "Interrupted; what was finished is kept. Run again for the rest.", 130
        except DatabaseError as error:
            # Its text may quote a row.
            problem = f"The database refused ({type(error).__name__}). Run again for the rest."
        report.close(is_applied=None if self.only_reads else options["apply"], **figures)
        if not problem and report.counts["failed"]:
            problem = f"{report.counts['failed']} failed."
        if problem:
            raise CommandError(problem, returncode=code)

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> dict[str, Any] | None:
        """Do the work; what is returned is added to the JSON summary."""
        raise NotImplementedError


def _batch_size(text: str) -> int:
    size = int(text)
    if not 0 < size <= MAX_BATCH_SIZE:
        raise ArgumentTypeError(f"must be between 1 and {MAX_BATCH_SIZE}")
    return size


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Django's order of options, and the examples line by line."""
