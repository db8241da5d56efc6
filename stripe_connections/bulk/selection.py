"""Selects the connections that a command works on, and divides them into batches."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, TextIO

import idna
from django.core.management.base import CommandError

from stripe_connections.bulk.report import Report
from stripe_connections.models import (
    Mode,
    Status,
    StripeConnection,
    StripeConnectionQuerySet,
    in_mode,
)
from workspaces.models import Tenant, Workspace

SELECTORS = ("tenant", "workspace", "endpoint_host", "account", "status", "mode", "ids")
# What the values of an option that can be repeated are compared with.
LOOKUPS = {
    "tenant": "workspace__tenant__biz_id__in",
    "workspace": "workspace__biz_id__in",
    "account": "stripe_account_id__in",
}


def add_selection_arguments(parser: ArgumentParser) -> None:
    """Rows must match all of the options, and any of the values of a repeated one."""
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
        "--ids", metavar="FILE", help="business IDs, one per line; - is standard input"
    )


def is_everything(options: dict[str, Any]) -> bool:
    """Whether no option is given; an empty list of IDs selects nothing."""
    return options["ids"] is None and not any(options[name] for name in SELECTORS)


def selected(options: dict[str, Any]) -> StripeConnectionQuerySet:
    """What the options select, without `--ids`; CommandError for an unknown tenant or workspace."""
    _must_exist(Tenant, options["tenant"])
    _must_exist(Workspace, options["workspace"])
    connections: StripeConnectionQuerySet = StripeConnection.objects.all()
    for option, lookup in LOOKUPS.items():
        if options[option]:
            connections = connections.filter(**{lookup: options[option]})
    if options["status"]:
        connections = connections.filter(status=Status[options["status"]])
    if options["mode"]:
        connections = connections.filter(in_mode(options["mode"]))
    if options["endpoint_host"]:
        pattern = host_pattern(*options["endpoint_host"])
        connections = connections.filter(partner_endpoint__iregex=pattern)
    return connections


def batches(
    connections: StripeConnectionQuerySet,
    options: dict[str, Any],
    report: Report,
    size: int | None = None,
) -> Iterator[list[int]]:
    """The primary keys of `connections` in order; with `--ids`, only of those.

    A batch has `size` keys, by default the value of `--batch-size`. An ID without a connection is
    reported as failed, and one that is not among `connections` as skipped.
    """
    size = size or options["batch_size"]
    if options["ids"] is None:
        report.start(connections.count())
        yield from _in_order(connections, size)
        return
    report.start(len(options["ids"]))
    for start in range(0, len(options["ids"]), size):
        ids = options["ids"][start : start + size]
        known = _keys(StripeConnection.objects.all(), ids)
        picked = _keys(connections, ids)
        for biz_id in ids:
            if biz_id not in known:
                report.fail(biz_id, "The connection does not exist.")
            elif biz_id not in picked:
                report.row("skipped", biz_id)
        report.advance(len(ids) - len(picked))
        if picked:
            yield sorted(picked.values())


def _in_order(connections: StripeConnectionQuerySet, size: int) -> Iterator[list[int]]:
    last = 0
    while batch := list(
        connections.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:size]
    ):
        last = batch[-1]
        yield batch


def _keys(connections: StripeConnectionQuerySet, ids: list[str]) -> dict[str, int]:
    return dict(connections.filter(biz_id__in=ids).values_list("biz_id", "pk"))


def host_pattern(*hosts: str) -> str:
    """A pattern for URLs on one of `hosts`; the host is its first group.

    Internationalized names are found in both spellings, with Unicode letters and in Punycode.
    """
    spellings = {spelling for host in hosts for spelling in _spellings(host)}
    alternatives = "|".join(re.escape(spelling) for spelling in sorted(spellings))
    return rf"^https://(({alternatives})\.?)(:[0-9]*)?([/?]|$)"


def _spellings(host: str) -> set[str]:
    name = host.rstrip(".").lower()
    try:
        return {name, idna.encode(name, uts46=True).decode(), idna.decode(name, uts46=True)}
    except UnicodeError:
        return {name}


def read_ids(path: str) -> list[str]:
    """The business IDs in a file, without repetitions; CommandError if it cannot be read."""
    with open_input(path) as file:
        try:
            lines = [line.strip() for line in file.read().decode("utf-8-sig").splitlines()]
        except UnicodeDecodeError:
            raise CommandError("The business IDs are not UTF-8.") from None
    return list(dict.fromkeys(line for line in lines if line))


def open_input(path: str) -> AbstractContextManager[IO[bytes]]:
    """Open a file, or standard input for `-`; CommandError if it cannot be read."""
    if path == "-":
        return nullcontext(standard_input().buffer)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None


def standard_input() -> TextIO:
    """`sys.stdin`; CommandError if it is closed."""
    if sys.stdin is None:
        raise CommandError("Standard input is closed.")
    return sys.stdin


def _must_exist(model: type[Tenant | Workspace], biz_ids: list[str]) -> None:
    found = model.objects.filter(biz_id__in=biz_ids).values_list("biz_id", flat=True)
    if missing := sorted({*biz_ids}.difference(found)):
        raise CommandError(f"There is no {model._meta.verbose_name} {', '.join(missing)}.")
