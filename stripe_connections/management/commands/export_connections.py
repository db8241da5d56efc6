"""Write connections to standard output, as CSV or JSON lines.

An export has hints and fingerprints, but no secrets. Edit the file and read it with
import_connections.

Examples:
  manage.py export_connections > all.csv
  manage.py export_connections --tenant tn_xyz789 --status ACTIVE --format json > active.jsonl
"""

import os
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Generator
from contextlib import closing, suppress
from itertools import chain
from stat import S_ISREG
from typing import Any, cast

from django.core.management.base import CommandError, OutputWrapper

from stripe_connections.bulk import command, file_formats, selection
from stripe_connections.models import StripeConnection

BYTE_ORDER_MARK = "\ufeff"
# As a shell reports a program that was ended by SIGPIPE: 128 and the number of the signal.
BROKEN_PIPE = 141


class Command(command.PlainCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        selection.add_selection_arguments(parser)
        parser.add_argument(
            "--format",
            choices=("csv", "json", "jsonl"),
            default="csv",
            help="json and jsonl are both JSON lines (default: csv)",
        )
        parser.add_argument(
            "--bom",
            action=BooleanOptionalAction,
            help="begin CSV with a byte-order mark, which Excel needs for letters outside ASCII "
            "(default: if standard output is a file)",
        )

    def handle(self, **options: Any) -> None:
        connections = selection.selected(options)
        if options["ids"]:
            connections = connections.filter(biz_id__in=selection.read_ids(options["ids"]))
        is_csv = options["format"] == "csv"
        lines = file_formats.csv_lines if is_csv else file_formats.json_lines
        connections = connections.select_related("workspace__tenant").order_by("pk")
        has_mark = is_csv and (_is_file(self.stdout) if options["bom"] is None else options["bom"])
        try:
            with closing(cast("Generator[StripeConnection]", connections.iterator())) as rows:
                mark = (BYTE_ORDER_MARK,) if has_mark else ()
                self.stdout.writelines(chain(mark, lines(map(file_formats.exported, rows))))
                self.stdout.flush()
        except BrokenPipeError:
            # The reader has ended, as in `export_connections | head`.
            command.abandon_output()
            sys.exit(BROKEN_PIPE)
        except OSError as error:
            command.abandon_output()
            raise CommandError(f"The output cannot be written ({error.strerror}).") from None


def _is_file(out: OutputWrapper) -> bool:
    with suppress(OSError):
        return S_ISREG(os.fstat(out.fileno()).st_mode)
    return False
