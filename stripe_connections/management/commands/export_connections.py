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
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from stripe_connections.bulk import command, file_formats, selection
from stripe_connections.models import StripeConnection, StripeConnectionQuerySet

BYTE_ORDER_MARK = "\ufeff"
# As a shell reports a program that was ended by SIGPIPE: 128 and the number of the signal.
BROKEN_PIPE = 141
# In a statement; PostgreSQL allows 65,535 parameters.
MAX_IDS = 10_000


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
        ids = selection.read_ids(options["ids"]) if options["ids"] else None
        is_csv = options["format"] == "csv"
        lines = file_formats.csv_lines if is_csv else file_formats.json_lines
        connections = selection.selected(options).select_related("workspace__tenant")
        has_mark = is_csv and (_is_file(self.stdout) if options["bom"] is None else options["bom"])
        try:
            with closing(_rows(connections.order_by("pk"), ids)) as rows:
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


def _rows(
    connections: StripeConnectionQuerySet, ids: list[str] | None
) -> Generator[StripeConnection]:
    if ids is None:
        yield from connections.iterator()
        return
    for start in range(0, len(ids), MAX_IDS):
        yield from connections.filter(biz_id__in=ids[start : start + MAX_IDS]).iterator()


def _is_file(out: OutputWrapper) -> bool:
    with suppress(OSError):
        return S_ISREG(os.fstat(out.fileno()).st_mode)
    return False
