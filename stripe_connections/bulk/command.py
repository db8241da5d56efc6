"""What the commands share: help, options, exit codes, and the summary at the end."""

import gc
import os
import sys
import uuid
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any

from auditlog.models import LogEntry
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
REST = "Finished batches are kept. Run the command again for the rest."
INTERRUPTED = 130


class Error(CommandError):
    """Django writes the name of the class before the message."""


class PlainCommand(BaseCommand):
    """A command whose help is the docstring of its module, and whose errors are one line."""

    def __init_subclass__(cls) -> None:
        cls.help = sys.modules[cls.__module__].__doc__ or ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=_HelpFormatter, **kwargs
        )

    def execute(self, *args: Any, **options: Any) -> Any:
        if sys.stdout is None:
            raise Error("Standard output is closed.")
        try:
            return super().execute(*args, **options)
        except SystemCheckError:
            raise
        except CommandError as error:
            raise Error(str(error), returncode=error.returncode) from None
        except KeyboardInterrupt:
            raise Error("Interrupted.", returncode=INTERRUPTED) from None


class BulkCommand(PlainCommand):
    """A command on many connections, whose subclasses implement `run`.

    The exit code is 1 if anything failed, and 130 after Ctrl-C. Finished batches are kept.
    """

    only_reads = False
    batch_size = 1_000

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_selection_arguments(parser)
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument(
            "--batch-size",
            type=number(int, 1, MAX_BATCH_SIZE),
            default=self.batch_size,
            metavar="N",
            help="rows per transaction (default: %(default)s)",
        )
        if not self.only_reads:
            parser.add_argument(
                "--apply", action="store_true", help="write; without it, nothing is changed"
            )

    def handle(self, **options: Any) -> None:
        """Run, write the summary, and raise a CommandError if anything failed."""
        command = type(self).__module__.rpartition(".")[2]
        # All audit records of a run have the same ID.
        actor = Actor(None, Source.COMMAND, f"{command}-{uuid.uuid4()}")
        is_json, verbosity = options["format"] == "json", options["verbosity"]
        report = Report(self.stdout, self.stderr, is_json=is_json, verbosity=verbosity)
        figures: dict[str, Any] = {}
        problem = ""
        code = 1
        # Otherwise, the garbage collector would look through all of Django again after every few
        # thousand rows, and take an eighth of the time of a rotation.
        gc.freeze()
        try:
            options["ids"] = read_ids(options["ids"]) if options["ids"] else None
            figures = self.run(report, actor, options) or {}
            if options.get("apply") and LogEntry.objects.filter(cid=actor.request_id).exists():
                report.text(f"The ID of this run is {actor.request_id}.")
                figures["run"] = actor.request_id
        except KeyboardInterrupt:
            problem, code = f"Interrupted. {REST}", INTERRUPTED
        except DatabaseError as error:
            # Its text may contain values of a row.
            problem = f"Database error ({type(error).__name__}). {REST}"
        except OutputClosedError:
            problem = f"{report.problem} {REST}"
        report.close(is_applied=None if self.only_reads else options["apply"], **figures)
        if report.problem:
            abandon_output()
            problem = problem or report.problem
        if not problem and report.counts["failed"]:
            problem = f"{report.counts['failed']} failed."
        if problem:
            raise CommandError(problem, returncode=code)

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> dict[str, Any] | None:
        """Do the work; the returned figures are added to the JSON summary."""
        raise NotImplementedError


def abandon_output() -> None:
    """Discard what could not be written: the interpreter would try again when it exits."""
    out = sys.__stdout__
    if out and sys.stdout is out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def number(kind: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    """The type of an argument: a number between `least` and `most`."""

    def number(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise ArgumentTypeError(f"must be between {least} and {most}")
        return value

    return number


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Django's order of the options, and a description that keeps its lines."""
