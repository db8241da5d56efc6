"""Create and update connections from a file, all of it or none."""

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any

from django.db import transaction
from django.db.models import Q

from stripe_connections import services
from stripe_connections.audit.records import Actor
from stripe_connections.bulk import changes, command, file_formats, selection
from stripe_connections.bulk.changes import RefusedError
from stripe_connections.bulk.report import Report
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.verification import Verifier
from workspaces import business_ids
from workspaces.models import Workspace

# A new connection has none of these to be picked by.
NOT_FOR_NEW = ("endpoint_host", "account", "status", "mode", "ids")


@dataclass(frozen=True)
class Row:
    """A row of the file whose `values` are valid: columns and what they are to be."""

    line: int
    cells: dict[str, Any]
    values: dict[str, Any]

    @property
    def biz_id(self) -> str | None:
        """The business id of the connection, if the row has one."""
        return self.cells.get("bizId")

    @property
    def key(self) -> tuple[str, ...]:
        """What finds its connection: the business id, else workspace and name."""
        return (self.biz_id,) if self.biz_id else (self.cells["workspaceId"], self.name)

    @property
    def name(self) -> str:
        """The connection's name, or nothing."""
        return str(self.values.get("connection_name", ""))


# What is to become of a row: the connection is None where one is to be created.
Step = tuple[Row, Workspace, StripeConnection | None]


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
        Verifier.add_argument(parser)

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        with selection.open_input(options["file"]) as file:
            rows = _read(file, report)
        report.start(len(rows))
        size, keeps_going = options["batch_size"], options["keep_going"]
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        lines: dict[int, int] = {}
        is_verified = options["apply"] and (keeps_going or not report.counts["failed"])
        verifier = Verifier(is_on=is_verified, allow_mode_change=options["allow_mode_change"])
        try:
            # The batches of each transaction.
            for together in [[batch] for batch in batches] if keeps_going else [batches]:
                verifier.prepare(_planned_changes(together, options))
                with transaction.atomic():
                    steps = [
                        step
                        for batch in together
                        for step in _steps(batch, lines, report, verifier, options)
                    ]
                    if report.counts["failed"] and not keeps_going:
                        report.counts["skipped"] += len(steps)
                        report.say("Nothing is written, because one row has failed or more.")
                        return
                    for step in steps:
                        _take(step, report, actor, verifier, is_applied=options["apply"])
                        report.advance(1)
        except BaseException:
            if not keeps_going:
                report.counts["changed"] = 0
            raise


def _read(file: IO[bytes], report: Report) -> list[Row]:
    """The valid rows; what is wrong with the others is told."""
    rows: list[Row] = []
    lines: dict[tuple[str, ...], int] = {}
    try:
        for line, cells in file_formats.read(file):
            try:
                row = _row(line, cells)
                _refuse_twice(lines, row.key, line)
                rows.append(row)
            except RefusedError as error:
                _fail(report, line, error)
    except file_formats.BadFileError as error:
        _fail(report, error.line, error)
    return rows


def _refuse_twice(lines: dict[Any, int], connection: Any, line: int) -> None:
    if (first := lines.setdefault(connection, line)) != line:
        raise RefusedError(f"It is about the same connection as line {first}.")


def _fail(report: Report, line: int, error: Exception) -> None:
    report.row("failed", None, f"line {line}: {error}", line=line, error=str(error))


def _row(line: int, cells: dict[str, Any] | RefusedError) -> Row:
    if isinstance(cells, RefusedError):
        raise cells
    biz_id, version = cells.get("bizId"), cells.get("version")
    if not isinstance(cells.get("workspaceId"), str):
        raise RefusedError("workspaceId is needed.")
    if biz_id is not None and not business_ids.is_well_formed("sc", str(biz_id)):
        raise RefusedError("bizId is sc_ followed by letters and digits.")
    if version is not None and not re.fullmatch(r"[0-9]+(\.0+)?", str(version)):
        raise RefusedError("version is a number.")
    values = {name: cells[name] for name in changes.API_NAMES.values() if name in cells}
    row = Row(line, cells, changes.validated(values))
    if not (biz_id or row.name):
        raise RefusedError("bizId or connectionName is needed.")
    return row


def _planned_changes(
    batches: list[list[Row]], options: dict[str, Any]
) -> Iterator[tuple[StripeConnection, dict[str, Any]]]:
    """What the rows that can be taken change."""
    lines: dict[int, int] = {}
    for batch in batches:
        for _, step in _planned(batch, lines, options, is_locked=False):
            if isinstance(step, tuple):
                yield _change(step)


def _change(step: Step) -> tuple[StripeConnection, dict[str, Any]]:
    """The connection, which may be a new one, and what the row changes of it."""
    row, workspace, connection = step
    if connection:
        return connection, changes.different(connection, row.values)
    return StripeConnection(workspace=workspace), row.values


def _steps(
    rows: list[Row],
    lines: dict[int, int],
    report: Report,
    verifier: Verifier,
    options: dict[str, Any],
) -> Iterator[Step]:
    """What is to be done, with locked connections; the other rows are told as failed or skipped."""
    for row, step in _planned(rows, lines, options, is_locked=True):
        try:
            if isinstance(step, RefusedError):
                raise step
            if step is None:
                report.row("skipped", row.biz_id)
                continue
            changes.judged(verifier, *_change(step))
        except RefusedError as error:
            _fail(report, row.line, error)
        else:
            yield step


def _planned(
    rows: list[Row], lines: dict[int, int], options: dict[str, Any], *, is_locked: bool
) -> Iterator[tuple[Row, Step | RefusedError | None]]:
    """What is to be done with each row; None where the options do not pick it.

    `lines` holds the line of each connection so far: one may be found by id and by name.
    """
    found = _found(rows, is_locked=is_locked)
    picked = selection.selected(options).filter(pk__in={c.pk for c in chain(*found.values())})
    if options["ids"] is not None:
        picked = picked.filter(biz_id__in=options["ids"])
    picked_keys = set(picked.values_list("pk", flat=True))
    ids = {row.cells["workspaceId"] for row in rows}
    workspaces = {
        workspace.biz_id: workspace
        for workspace in Workspace.objects.select_related("tenant").filter(biz_id__in=ids)
    }
    for row in rows:
        try:
            workspace = _workspace(row, workspaces)
            connection = _connection(row, workspace, found.get(row.key, []))
            if connection:
                _refuse_twice(lines, connection.pk, row.line)
        except RefusedError as error:
            yield row, error
            continue
        is_picked = connection.pk in picked_keys if connection else _is_picked(workspace, options)
        yield row, (row, workspace, connection) if is_picked else None


def _found(rows: list[Row], *, is_locked: bool) -> dict[tuple[str, ...], list[StripeConnection]]:
    """The connections that `rows` may be about, by each key that finds them."""
    unnamed = [row for row in rows if not row.biz_id]
    named = Q(
        workspace__biz_id__in={row.cells["workspaceId"] for row in unnamed},
        connection_name__in={row.name for row in unnamed},
    )
    ids = Q(biz_id__in=[row.biz_id for row in rows if row.biz_id])
    connections = StripeConnection.objects.select_related("workspace").order_by("pk")
    if is_locked:
        connections = connections.for_update(services.lock_timeout())
    found: dict[tuple[str, ...], list[StripeConnection]] = {}
    for connection in connections.filter(ids | named):
        workspace_id = connection.workspace.biz_id
        for key in ((connection.biz_id,), (workspace_id, connection.connection_name)):
            found.setdefault(key, []).append(connection)
    return found


def _workspace(row: Row, workspaces: dict[str, Workspace]) -> Workspace:
    """Its workspace, of the tenant that the row names."""
    workspace = workspaces.get(row.cells["workspaceId"])
    tenant_id = row.cells.get("tenantBizId")
    if workspace is None or tenant_id not in (None, workspace.tenant.biz_id):
        raise RefusedError("There is no such workspace, or it is another tenant's.")
    return workspace


def _connection(
    row: Row, workspace: Workspace, found: list[StripeConnection]
) -> StripeConnection | None:
    """The one to update; None where one is to be created."""
    if len(found) > 1:
        raise RefusedError("Several connections have this name: give the bizId.")
    if not found and not row.name:
        raise RefusedError("There is no such connection, and a new one needs a connectionName.")
    if not found:
        return None
    if found[0].workspace_id != workspace.pk:
        raise RefusedError("The connection of this bizId is in another workspace.")
    version, now = row.cells.get("version"), found[0].version
    if (
        version is not None
        and int(str(version).partition(".")[0]) != now
        and changes.different(found[0], row.values)
    ):
        raise RefusedError(
            f"It has changed since the export (version {version}, now {now}). "
            "Leave the version out to overwrite that."
        )
    return found[0]


def _is_picked(workspace: Workspace, options: dict[str, Any]) -> bool:
    """Whether the options pick a new connection of `workspace`."""
    tenants, workspaces = options["tenant"], options["workspace"]
    return (
        not any(options[name] for name in NOT_FOR_NEW)
        and (not tenants or workspace.tenant.biz_id in tenants)
        and (not workspaces or workspace.biz_id in workspaces)
    )


def _take(
    step: Step, report: Report, actor: Actor, verifier: Verifier, *, is_applied: bool
) -> None:
    row, workspace, connection = step
    if connection:
        changes.change(report, connection, row.values, actor, verifier, is_applied=is_applied)
        return
    biz_id = row.biz_id
    if is_applied:
        created = services.create_connection(
            workspace=workspace,
            values=row.values,
            actor=actor,
            biz_id=biz_id,
            reply=changes.judged(verifier, *_change(step)),
        )
        biz_id = created.biz_id
    report.row("changed", biz_id, f"new: {row.name!r}", line=row.line, isNew=True)
