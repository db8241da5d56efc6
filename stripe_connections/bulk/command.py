"""What the commands on many connections share: options, exit codes, the summary at the end."""

import os
import sys
import uuid
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    DjangoHelpFormatter,
    SystemCheckError,
)
from django.db import DatabaseError

from stripe_connections.audit.records import Actor, Source
from stripe_connections.bulk.report import OutputClosedError, Report
from stripe_connections.bulk.selection import add_selection_arguments, read_ids

MAX_BATCH_SIZE = 5_000
REST = "what was finished is kept. Run again for the rest."
INTERRUPTED = 130


class ExplainedCommand(BaseCommand):
    """A command whose help ends with `examples`, line by line, and whose failure is one line."""

    examples = ""
    # Django sets it to True.
    _called_from_command_line = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        lines = (f"  manage.py {line}" for line in self.examples.strip().splitlines())
        epilog = "\n".join(("examples:", *lines))
        return super().create_parser(
            prog_name, subcommand, formatter_class=_HelpFormatter, epilog=epilog, **kwargs
        )

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            _require_output()
            return super().execute(*args, **options)
        except SystemCheckError:
            raise
        except CommandError as error:
            failure = error
        except KeyboardInterrupt:
            failure = CommandError("Interrupted.", returncode=INTERRUPTED)
        if not self._called_from_command_line:
            raise failure
        # Without the name of the class, which Django puts in front.
        self.stderr.write(f"Error: {failure}")
        sys.exit(failure.returncode)


class BulkCommand(ExplainedCommand):
    """A command on many connections.

    A subclass has `help`, `examples`, and `run`, which does the work and tells the report. The
    exit code is 1 if anything failed, and 130 after Ctrl-C; what was finished by then stays.
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
        """Run, sum up, and fail if a row did."""
        command = type(self).__module__.rpartition(".")[2]
        # One id for all that this run writes to the audit.
        actor = Actor(None, Source.COMMAND, f"{command}-{uuid.uuid4()}")
        report = Report(
            self.stdout,
            self.stderr,
            is_json=options["format"] == "json",
            verbosity=options["verbosity"],
        )
        figures: dict[str, Any] = {}
        problem = ""
        code = 1
        try:
            options["ids"] = read_ids(options["ids"]) if options["ids"] else None
            figures = self.run(report, actor, options) or {}
        except KeyboardInterrupt:
            problem, code = f"Interrupted; {REST}", INTERRUPTED
        except DatabaseError as error:
            # Its text may quote a row.
            problem = f"The database refused ({type(error).__name__}). Run again for the rest."
        except OutputClosedError:
            problem = f"{report.problem} Stopped; {REST}"
        report.close(is_applied=None if self.only_reads else options["apply"], **figures)
        if report.problem:
            abandon_output()
            problem = problem or report.problem
        if not problem and report.counts["failed"]:
            problem = f"{report.counts['failed']} failed."
        if problem:
            raise CommandError(problem, returncode=code)

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> dict[str, Any] | None:
        """Do the work; what is returned is added to the JSON summary."""
        raise NotImplementedError


def _require_output() -> None:
    if sys.stdout is None:
        raise CommandError("Standard output is closed.")


def abandon_output() -> None:
    """Discard what could not be written: the interpreter tries again when it exits."""
    out = sys.__stdout__
    if out and sys.stdout is out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _batch_size(text: str) -> int:
    size = int(text)
    if not 0 < size <= MAX_BATCH_SIZE:
        raise ArgumentTypeError(f"must be between 1 and {MAX_BATCH_SIZE}")
    return size


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Django's order of options, and the examples line by line."""
