"""Bring every secret under the first of FERNET_KEYS, while the service runs."""

import time
from argparse import ArgumentParser
from array import array
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.report import Report
from stripe_connections.bulk.rotation import Reencryption, reencrypt_connections
from stripe_connections.bulk.workers import workers
from stripe_connections.models import StripeConnection

# Seconds to wait before the rows that somebody else held are tried again.
PAUSES = (0, 0.1, 0.5, 2, 5)

# A row and its new version fit on one page, and no index is written, where a batch takes few rows
# of each page: what the batch before has left behind there is free by then. It halves the work of
# PostgreSQL and keeps the table from growing.
STRIDE = 10


class Command(command.BulkCommand):
    """Re-encrypt in batches; what somebody else holds for the moment is tried again at the end."""

    help = (
        "Re-encrypt every secret under the first of FERNET_KEYS, while the service runs. Rows that "
        "are under it already are left as they are. Several machines at once share the work."
    )
    examples = """
rotate_secrets
rotate_secrets --apply --workers 2
rotate_secrets --apply --tenant tn_xyz789 --format json
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--workers", type=int, default=1, metavar="N", help="processes that share the work"
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        size = options["batch_size"]
        work = partial(_reencrypt, size=size, actor=actor, is_dry_run=not options["apply"])
        with workers(options["workers"]) as do:
            windows = selection.batches(
                selection.selected(options),
                options,
                report,
                times=STRIDE,
                shares=options["workers"],
            )
            held = _tell(report, do(work, windows))
            for pause in PAUSES:
                if not held:
                    break
                time.sleep(pause)
                slices = (held[start : start + size] for start in range(0, len(held), size))
                held = _tell(report, do(work, slices))
        for start in range(0, len(held), size):
            # Not those that have been deleted meanwhile.
            connections = StripeConnection.objects.filter(pk__in=held[start : start + size])
            for biz_id in connections.values_list("biz_id", flat=True):
                report.fail(biz_id, "Somebody else held it all the time: run again.")


def _reencrypt(window: list[int], *, size: int, **options: Any) -> list[Reencryption]:
    """A window in batches of `size`, by one process: two would write the same pages in turn."""
    stride = -(-len(window) // size)
    return [reencrypt_connections(window[n::stride], **options) for n in range(stride)]


def _tell(report: Report, results: Iterable[list[Reencryption]]) -> "array[int]":
    """Add the results up; the primary keys that were held, in 8 bytes each."""
    held = array("q")
    for result in chain.from_iterable(results):
        held.extend(result.held)
        changed = [pk for pk in result.changed if pk not in result.unreadable]
        report.counts["changed"] += len(changed)
        report.counts["unchanged"] += len(result.unchanged)
        for secrets in result.unreadable.values():
            fields = ", ".join(name for _, name in secrets)
            report.fail(secrets[0][0], f"No key of FERNET_KEYS can read in this row: {fields}.")
        report.advance(len(changed) + len(result.unchanged) + len(result.unreadable))
    return held
