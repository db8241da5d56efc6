"""Encrypt every secret again, under the first of FERNET_KEYS, while the service runs.

Secrets that are already encrypted under the first key are not changed. To use two processors or
machines, start the command with --share 1/2 and at the same time with --share 2/2.

Examples:
  manage.py rotate_secrets
  manage.py rotate_secrets --apply
  manage.py rotate_secrets --apply --share 1/2 & manage.py rotate_secrets --apply --share 2/2
  manage.py rotate_secrets --apply --tenant tn_xyz789 --format json
"""

import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import F

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.pipeline import HELD
from stripe_connections.bulk.report import Report
from stripe_connections.bulk.rotation import Reencrypted, reencrypt
from stripe_connections.models import StripeConnection

# Seconds to wait before rows that another transaction has locked are tried again.
PAUSES = (0, 0.1, 0.5, 2, 5)

# A batch takes every tenth row of a window. PostgreSQL then finds space for the new version of a
# row on the same page, where the previous batch left old versions, and updates no index. This
# halves its work and keeps the table from growing.
STRIDE = 10


class Command(command.BulkCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--share",
            type=_share,
            default=(1, 1),
            metavar="1/2",
            help="rotate only the first half of the rows; also 2/2, 1/3 and so on (default: all)",
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        size = options["batch_size"]
        number, count = options["share"]
        connections = selection.selected(options).alias(share=F("pk") % count + 1)
        connections = connections.filter(share=number)
        windows = selection.batches(connections, options, report, size * STRIDE)

        def rotate(windows: Iterable[Sequence[int]]) -> list[int]:
            """Returns the rows that another transaction has locked."""
            held: set[int] = set()
            for pks in _strided(windows, size):
                rows = reencrypt(pks, actor, is_dry_run=not options["apply"])
                for row in rows:
                    _report(row, report)
                report.advance(len(rows))
                held |= {*pks}.difference(row.pk for row in rows)
            return sorted(held)

        held = rotate(windows)
        for pause in PAUSES:
            if held:
                time.sleep(pause)
                held = rotate([held])
        for pks in _strided([held], size):
            # Rows that were deleted in the meantime are not reported.
            found = StripeConnection.objects.filter(pk__in=pks)
            for biz_id in found.values_list("biz_id", flat=True):
                report.fail(biz_id, HELD)


def _report(row: Reencrypted, report: Report) -> None:
    if row.unreadable:
        names = ", ".join(row.unreadable)
        report.fail(row.biz_id, f"No key of FERNET_KEYS can decrypt in this row: {names}.")
    else:
        report.row("changed" if row.is_changed else "unchanged", row.biz_id)


def _share(text: str) -> tuple[int, int]:
    number, count = map(int, text.split("/"))
    if not 1 <= number <= count:
        raise ArgumentTypeError("must be a share such as 1/2 or 2/2")
    return number, count


def _strided(windows: Iterable[Sequence[int]], size: int) -> Iterator[Sequence[int]]:
    for window in windows:
        stride = -(-len(window) // size)
        yield from (window[start::stride] for start in range(stride))
