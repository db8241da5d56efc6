"""Create and update connections from a file, all of it or none."""

from argparse import ArgumentParser
from contextlib import nullcontext
from dataclasses import dataclass
from typing import IO, Any

from django.core.management.base import CommandError
from django.db import transaction
from django.db.models import Q

from stripe_connections import services
from stripe_connections.audit import Actor
from stripe_connections.bulk import changes, command, exchange, selection
from stripe_connections.bulk.exchange import BadRowError
from stripe_connections.bulk.report import Report
from stripe_connections.models import StripeConnection
from workspaces import business_ids
from workspaces.models import Workspace

# A new connection has none of these to be picked by.
NOT_FOR_NEW = ("endpoint_host", "account", "status", "mode", "ids")


@dataclass(frozen=True)
class Row:
    """A row of the file whose values are valid."""

    line: int
    workspace_id: str
    tenant_id: str | None
    biz_id: str | None
    version: int | None
    values: dict[str, Any]

    @property
    def key(self) -> tuple[str, ...]:
        """What finds its connection: the business id, else workspace and name."""
        return (self.biz_id,) if self.biz_id else (self.workspace_id, self.name)

    @property
    def name(self) -> str:
        """The connection's name, or nothing."""
        return str(self.values.get("connection_name", ""))


class Command(command.BulkCommand):
    """Everything is checked first, and only then written."""

    help = (
        "Create and update connections from CSV or JSON lines, as export_connections writes them; "
        "columns may be left out. A row is found by bizId, or without one by workspaceId and "
        "connectionName. Everything is checked first, and one bad row stops the whole file unless "
        "--keep-going is given. apiKey and webhookSecret may be in the file. Rows that the options "
        "below do not pick are skipped."
    )
    examples = """
import_connections edited.csv
import_connections edited.csv --apply
import_connections - --tenant tn_xyz789 --keep-going --apply < rows.jsonl
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", help="CSV or JSON lines in UTF-8; - is standard input")
        parser.add_argument(
            "--keep-going", action="store_true", help="import the good rows of a file with bad ones"
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        with selection.open_input(options["file"]) as file:
            rows = _read(file, report)
        report.start(len(rows))
        size, is_applied = options["batch_size"], options["apply"]
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        lines: dict[int, int] = {}
        possible = [_possible(batch, lines, report, options) for batch in batches]
        if report.counts["failed"] and not options["keep_going"]:
            report.counts["skipped"] += sum(map(len, possible))
            report.say("Nothing is written, because one row has failed or more.")
            return
        try:
            with nullcontext() if options["keep_going"] else transaction.atomic():
                for batch in possible:
                    with transaction.atomic():
                        _write(batch, report, actor, options, is_applied=is_applied)
                    report.advance(len(batch))
        except BaseException:
            if not options["keep_going"]:
                report.counts["changed"] = 0
            raise


def _read(file: IO[bytes], report: Report) -> list[Row]:
    """The valid rows; what is wrong with the others is told."""
    rows: list[Row] = []
    lines: dict[tuple[str, ...], int] = {}
    try:
        for line, cells in exchange.read(file):
            try:
                row = _row(line, cells)
                _refuse_twice(lines, row.key, line)
                rows.append(row)
            except (BadRowError, changes.InvalidValuesError) as error:
                _fail(report, line, str(error))
    except exchange.BadFileError as error:
        _fail(report, error.line, str(error))
    return rows


def _refuse_twice(lines: dict[Any, int], connection: Any, line: int) -> None:
    if (first := lines.setdefault(connection, line)) != line:
        raise BadRowError(f"It is about the same connection as line {first}.")


def _fail(report: Report, line: int, error: str) -> None:
    report.row("failed", None, f"line {line}: {error}", line=line, error=error)


def _row(line: int, cells: dict[str, Any] | BadRowError) -> Row:
    if isinstance(cells, BadRowError):
        raise cells
    values = {name: cells[name] for name in changes.API_NAMES.values() if name in cells}
    workspace_id, biz_id, version = (cells.get(n) for n in ("workspaceId", "bizId", "version"))
    if not isinstance(workspace_id, str):
        raise BadRowError("workspaceId is needed.")
    if biz_id is not None and not (
        isinstance(biz_id, str) and business_ids.is_well_formed("sc", biz_id)
    ):
        raise BadRowError("bizId is sc_ followed by letters and digits.")
    if version is not None and not str(version).isdecimal():
        raise BadRowError("version is a number.")
    row = Row(
        line=line,
        workspace_id=workspace_id,
        tenant_id=cells.get("tenantBizId"),
        biz_id=biz_id,
        version=None if version is None else int(version),
        values=changes.validated(values),
    )
    if not (row.biz_id or row.name):
        raise BadRowError("bizId or connectionName is needed.")
    return row


class Found:
    """What the database has for a batch of rows."""

    def __init__(self, rows: list[Row], options: dict[str, Any], *, locks: bool) -> None:
        ids = [row.biz_id for row in rows if row.biz_id]
        named = Q(
            workspace__biz_id__in={row.workspace_id for row in rows if not row.biz_id},
            connection_name__in={row.name for row in rows if not row.biz_id},
        )
        connections = StripeConnection.objects.select_related("workspace__tenant").order_by("pk")
        if locks:
            connections = connections.for_update(services.lock_timeout())
        self._by_key: dict[tuple[str, ...], list[StripeConnection]] = {}
        for connection in connections.filter(Q(biz_id__in=ids) | named):
            workspace_id = connection.workspace.biz_id
            for key in ((connection.biz_id,), (workspace_id, connection.connection_name)):
                self._by_key.setdefault(key, []).append(connection)
        self._workspaces = {
            workspace.biz_id: workspace
            for workspace in Workspace.objects.select_related("tenant").filter(
                biz_id__in={row.workspace_id for row in rows}
            )
        }
        pks = [c.pk for found in self._by_key.values() for c in found]
        picked = selection.selected(options).filter(pk__in=pks)
        if options["ids"] is not None:
            picked = picked.filter(biz_id__in=options["ids"])
        self._picked = set(picked.values_list("pk", flat=True))
        self._options = options

    def workspace(self, row: Row) -> Workspace:
        """Its workspace, of the tenant that the row names."""
        workspace = self._workspaces.get(row.workspace_id)
        if workspace is None or row.tenant_id not in {None, workspace.tenant.biz_id}:
            raise BadRowError("There is no such workspace, or it is another tenant's.")
        return workspace

    def connection(self, row: Row) -> StripeConnection | None:
        """The one to update; None where one is to be created. Raises a BadRowError."""
        workspace = self.workspace(row)
        found = self._by_key.get(row.key, [])
        if len(found) > 1:
            raise BadRowError("Several connections have this name: give the bizId.")
        if not found and not row.name:
            raise BadRowError("There is no such connection, and a new one needs a connectionName.")
        if not found:
            return None
        if found[0].workspace_id != workspace.pk:
            raise BadRowError("The connection of this bizId is in another workspace.")
        if row.version not in {None, found[0].version} and changes.different(found[0], row.values):
            raise BadRowError(
                f"It has changed since the export (version {row.version}, now {found[0].version}). "
                "Leave the version out to overwrite that."
            )
        return found[0]

    def is_picked(self, row: Row, connection: StripeConnection | None) -> bool:
        """Whether the options pick the connection, or the workspace of a new one."""
        if connection:
            return connection.pk in self._picked
        tenants, workspaces = self._options["tenant"], self._options["workspace"]
        return (
            not any(self._options[name] for name in NOT_FOR_NEW)
            and (not tenants or self.workspace(row).tenant.biz_id in tenants)
            and (not workspaces or row.workspace_id in workspaces)
        )


def _possible(
    rows: list[Row], lines: dict[int, int], report: Report, options: dict[str, Any]
) -> list[Row]:
    """The rows that can be imported; the others are told as failed or skipped.

    `lines` holds the line of each connection so far: one may be found by id and by name.
    """
    found = Found(rows, options, locks=False)
    possible: list[Row] = []
    for row in rows:
        try:
            connection = found.connection(row)
            if connection:
                _refuse_twice(lines, connection.pk, row.line)
            if found.is_picked(row, connection):
                possible.append(row)
            else:
                report.row("skipped", row.biz_id)
        except BadRowError as error:
            _fail(report, row.line, str(error))
    return possible


def _write(
    rows: list[Row],
    report: Report,
    actor: Actor,
    options: dict[str, Any],
    *,
    is_applied: bool,
) -> None:
    found = Found(rows, options, locks=True)
    for row in rows:
        try:
            connection = found.connection(row)
        except BadRowError as error:
            if not options["keep_going"]:
                raise CommandError(f"line {row.line}: {error} Nothing is written.") from None
            _fail(report, row.line, str(error))
            continue
        if connection:
            changes.change(report, connection, row.values, actor, is_applied=is_applied)
            continue
        if is_applied:
            connection = services.create_connection(
                workspace=found.workspace(row), values=row.values, actor=actor, biz_id=row.biz_id
            )
        biz_id = connection.biz_id if connection else row.biz_id
        report.row("changed", biz_id, f"new: {row.name!r}", line=row.line, isNew=True)
