"""What the commands on many connections share: picking rows, batches, progress, the summary."""

import json
import re
import sys
import time
import uuid
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import idna
from django.core.management.base import (
    BaseCommand,
    CommandError,
    DjangoHelpFormatter,
    OutputWrapper,
)
from django.db import DatabaseError
from django.db.models import Q
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stripe_connections.audit import Actor, Source
from stripe_connections.models import (
    Mode,
    Status,
    StripeConnection,
    StripeConnectionQuerySet,
    in_mode,
)
from workspaces.models import Tenant, Workspace

MAX_BATCH_SIZE = 5_000
OUTCOMES = ("changed", "unchanged", "skipped", "failed")
SELECTORS = ("tenant", "workspace", "endpoint_host", "account", "status", "mode", "ids")


class Report:
    """Tells what happens: each row that is worth a line, the progress, and the counts.

    As JSON it is one object on one line, written as it comes about: `rows`, then the counts.
    """

    def __init__(self, out: OutputWrapper, err: OutputWrapper, *, is_json: bool) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._out, self._err, self._is_json = out, err, is_json
        self._separator = '{"rows": ['
        self._started = time.monotonic()
        self._bar: Progress | None = None
        self._done = self._total = 0

    def start(self, total: int) -> None:
        """Show the progress towards `total`: a bar on a terminal, else a line for each tenth."""
        self._total = total
        if self._err.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("·"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task("", total=total)
            self._bar.start()

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def advance(self, count: int) -> None:
        """So many more rows are done."""
        tenths = self._done * 10 // max(self._total, 1)
        self._done += count
        if self._bar:
            self._bar.advance(self._bar.task_ids[0], count)
        elif self._done * 10 // max(self._total, 1) > tenths:
            self._err.write(f"{self._done} of {max(self._total, self._done)}")

    def row(self, outcome: str, biz_id: str | None, text: str = "", **details: Any) -> None:
        """Count a row as `outcome` and, where there is a `text`, tell about it.

        `details` are for the JSON and must hold what the text says.
        """
        self.counts[outcome] += 1
        if text:
            self.tell(
                f"{outcome}  {biz_id or '-'}  {text}", outcome=outcome, bizId=biz_id, **details
            )

    def tell(self, text: str, **details: Any) -> None:
        """A line for people, or `details` as an entry of `rows`."""
        if self._is_json:
            self._out.write(self._separator + json.dumps(details, ensure_ascii=False), ending="")
            self._separator = ", "
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """A line for people."""
        if self._bar and self._out.isatty():
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._is_json:
            self._out.write(text)

    def close(self, *, is_applied: bool | None, **figures: Any) -> None:
        """The summary; `is_applied` is None for a command that only reads."""
        self.stop()
        seconds = round(time.monotonic() - self._started, 2)
        if self._is_json:
            applied = {} if is_applied is None else {"applied": is_applied}
            summary = json.dumps({**self.counts, **applied, "seconds": seconds, **figures})
            self._out.write(
                f"{self._separator if self._separator[0] == '{' else ''}], {summary[1:]}"
            )
            return
        self._out.write(
            ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
            + f" in {seconds} s"
        )
        if is_applied is False:
            self._out.write("This was a dry run: nothing was written. Add --apply to write.")


class BulkCommand(BaseCommand):
    """A command on many connections.

    A subclass has `help`, `examples`, and `run`, which does the work and tells the report. The
    exit code is 1 where anything failed, and 130 after Ctrl-C; what was finished by then stays.
    """

    examples = ""
    only_reads = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        kwargs |= help_with_examples(self.examples)
        return super().create_parser(prog_name, subcommand, **kwargs)

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


def help_with_examples(examples: str) -> dict[str, Any]:
    """What a parser needs to end its help with examples, line by line."""
    lines = (f"  manage.py {line}" for line in examples.strip().splitlines())
    return {"formatter_class": _HelpFormatter, "epilog": "\n".join(("examples:", *lines))}


def add_selection_arguments(parser: ArgumentParser) -> None:
    """How rows are picked: what is given more than once is any of them, different ones are all."""
    group = parser.add_argument_group("which connections (default: all)")
    for option, metavar, text in (
        ("--tenant", "tn_…", "of this tenant"),
        ("--workspace", "ws_…", "of this workspace"),
        ("--endpoint-host", "HOST", "whose partner endpoint is on this host"),
        ("--account", "acct_…", "of this Stripe account"),
    ):
        group.add_argument(
            option, action="append", default=[], metavar=metavar, help=f"{text}; can be repeated"
        )
    group.add_argument("--status", type=str.upper, choices=Status.names)
    group.add_argument("--mode", choices=Mode.values, help="what the API key is for")
    group.add_argument(
        "--ids", metavar="FILE", help="business ids, one a line; - is standard input"
    )


def selected(options: dict[str, Any]) -> StripeConnectionQuerySet:
    """What the options pick, except by `--ids`; CommandError for an unknown tenant or workspace."""
    _must_exist(Tenant, options["tenant"])
    _must_exist(Workspace, options["workspace"])
    picked = Q()
    if options["tenant"]:
        picked &= Q(workspace__tenant__biz_id__in=options["tenant"])
    if options["workspace"]:
        picked &= Q(workspace__biz_id__in=options["workspace"])
    if options["account"]:
        picked &= Q(stripe_account_id__in=options["account"])
    if options["status"]:
        picked &= Q(status=Status[options["status"]])
    if options["mode"]:
        picked &= in_mode(options["mode"])
    if options["endpoint_host"]:
        picked &= Q(partner_endpoint__iregex=host_pattern(*options["endpoint_host"]))
    connections: StripeConnectionQuerySet = StripeConnection.objects.filter(picked)
    return connections


def batches(
    connections: StripeConnectionQuerySet,
    options: dict[str, Any],
    report: Report,
    times: int = 1,
) -> Iterator[list[int]]:
    """The primary keys of `connections` in order, `times` batches at a time, of `--ids` only.

    An id that no connection has is told to the report as failed, one that was not picked as
    skipped.
    """
    size = options["batch_size"] * times
    if options["ids"] is None:
        report.start(connections.count())
        yield from _in_order(connections, size)
        return
    report.start(len(options["ids"]))
    ids = iter(options["ids"])
    while chunk := list(islice(ids, size)):
        known = dict(_keys(StripeConnection.objects.all(), chunk))
        picked = dict(_keys(connections, chunk))
        for biz_id in chunk:
            if biz_id not in known:
                error = "There is no such connection."
                report.row("failed", biz_id, error, error=error)
            elif biz_id not in picked:
                report.row("skipped", biz_id)
        report.advance(len(chunk) - len(picked))
        if picked:
            yield sorted(picked.values())


def _in_order(connections: StripeConnectionQuerySet, size: int) -> Iterator[list[int]]:
    last = 0
    while batch := list(
        connections.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:size]
    ):
        last = batch[-1]
        yield batch


def _keys(connections: StripeConnectionQuerySet, ids: list[str]) -> Any:
    return connections.filter(biz_id__in=ids).values_list("biz_id", "pk")


def host_pattern(*hosts: str) -> str:
    """A pattern for URLs on one of `hosts`, however a name with other letters is spelled there."""
    spellings = {spelling for host in hosts for spelling in _spellings(host)}
    alternatives = "|".join(re.escape(spelling) for spelling in sorted(spellings))
    return rf"^https://({alternatives})\.?(:[0-9]*)?([/?]|$)"


def _spellings(host: str) -> set[str]:
    name = host.rstrip(".").lower()
    try:
        return {name, idna.encode(name, uts46=True).decode(), idna.decode(name, uts46=True)}
    except UnicodeError:
        return {name}


def read_ids(path: str) -> list[str]:
    """The business ids in a file, one a line, each once; CommandError where it cannot be read."""
    with open_input(path) as file:
        try:
            lines = [line.strip() for line in file.read().decode("utf-8-sig").splitlines()]
        except UnicodeDecodeError:
            raise CommandError("The business ids are not UTF-8.") from None
    return list(dict.fromkeys(line for line in lines if line))


@contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """A file, or standard input for `-`; CommandError where it cannot be read."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    with file:
        yield file


def _must_exist(model: type[Tenant | Workspace], biz_ids: list[str]) -> None:
    found = model.objects.filter(biz_id__in=biz_ids).values_list("biz_id", flat=True)
    if missing := sorted({*biz_ids}.difference(found)):
        raise CommandError(f"There is no {model._meta.verbose_name} {', '.join(missing)}.")


def _batch_size(text: str) -> int:
    size = int(text)
    if not 0 < size <= MAX_BATCH_SIZE:
        raise ArgumentTypeError(f"must be between 1 and {MAX_BATCH_SIZE}")
    return size


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Django's order of options, and the examples line by line."""
