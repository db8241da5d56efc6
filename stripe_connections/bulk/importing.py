"""Reads the rows of a file, and plans what happens to them."""

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any

from django.db.models import Q

from stripe_connections.bulk import file_formats, selection
from stripe_connections.bulk.file_formats import BadFileError, Cells
from stripe_connections.bulk.pipeline import Plan, RefusedError, different, validated
from stripe_connections.models import StripeConnection
from stripe_connections.validation.serializers import API_NAMES
from workspaces import business_ids
from workspaces.models import Workspace

# Options that never select a new connection, which has none of these yet.
NOT_FOR_NEW = ("endpoint_host", "account", "status", "mode")
# Columns that no row changes. To read a time takes 10 µs.
TIMES = ("created_at", "updated_at", "api_key_replaced_at", "webhook_secret_replaced_at")
TEXTS = ("connection_name", "connection_description")
# Of a key; `line` is not changed.
FIRST_LINE = """
    INSERT INTO lines VALUES (?, ?) ON CONFLICT DO UPDATE SET line = line RETURNING line
"""


@dataclass(frozen=True)
class Row:
    """A row of the file with the new `values` of the columns, or why it cannot be used."""

    line: int
    cells: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    refusal: str = ""

    @property
    def biz_id(self) -> str | None:
        return self.cells.get("bizId")

    @property
    def name(self) -> str:
        """The connection's name, or ""."""
        return str(self.values.get("connection_name", ""))

    @property
    def key(self) -> str:
        """What its connection is found by: the business ID, or workspace and name."""
        return self.biz_id or f"{self.cells['workspaceId']} {self.name}"


def count_rows(file: IO[bytes]) -> int:
    """The number of rows of a file, which is then rewound; 0 for a pipe or a broken file."""
    if not file.seekable():
        return 0
    start, count = file.tell(), 0
    with suppress(BadFileError):
        count = sum(1 for _ in file_formats.read(file))
    file.seek(start)
    return count


def batches(file: IO[bytes], size: int) -> Iterator[list[Row]]:
    rows = _rows(file)
    while batch := list(islice(rows, size)):
        yield batch


def _rows(file: IO[bytes]) -> Iterator[Row]:
    try:
        for line, cells in file_formats.read(file):
            try:
                yield _row(line, cells)
            except RefusedError as error:
                yield Row(line, refusal=str(error))
    except BadFileError as error:
        yield Row(error.line, refusal=str(error))


def _row(line: int, cells: Cells) -> Row:
    if isinstance(cells, RefusedError):
        raise cells
    biz_id, version = cells.get("bizId"), cells.get("version")
    if not isinstance(cells.get("workspaceId"), str):
        raise RefusedError("workspaceId is required.")
    if biz_id is not None and not business_ids.is_well_formed("sc", str(biz_id)):
        raise RefusedError("bizId must be sc_ followed by letters and digits.")
    if version is not None and not re.fullmatch(r"[0-9]+(\.0+)?", str(version)):
        raise RefusedError("version must be a number.")
    row = Row(line, cells, validated({n: cells[n] for n in API_NAMES.values() if n in cells}))
    if not (biz_id or row.name):
        raise RefusedError("bizId or connectionName is required.")
    return row


class ImportPlanner:
    """Finds the connection of each row; refuses rows that contradict it or another row."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options, self._selection = options, selection.selected(options)
        self._ids = None if options["ids"] is None else {*options["ids"]}
        # The line of each connection so far, by everything that it can be found by. SQLite keeps
        # it in a temporary file, so that a large file needs no more memory than a small one.
        self._lines = sqlite3.connect("")
        self._lines.execute("CREATE TABLE lines (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")

    def close(self) -> None:
        self._lines.close()

    def __call__(self, rows: Sequence[Row]) -> Iterator[Plan]:
        good = [row for row in rows if not row.refusal]
        workspace_ids = {row.cells["workspaceId"] for row in good}
        workspaces = Workspace.objects.select_related("tenant").filter(biz_id__in=workspace_ids)
        by_id = {workspace.biz_id: workspace for workspace in workspaces}
        found = _found(good, by_id)
        selected = self._selected([connection.pk for c in found.values() for connection in c])
        for row in rows:
            try:
                yield self._plan(row, by_id, found, selected)
            except RefusedError as error:
                yield Plan(None, refusal=str(error), line=row.line)

    def _plan(
        self,
        row: Row,
        workspaces: dict[str, Workspace],
        found: dict[str, list[StripeConnection]],
        selected: set[int],
    ) -> Plan:
        if row.refusal:
            raise RefusedError(row.refusal)
        connection = _connection(row, workspaces, found[row.key])
        changes = _changes(row, connection)
        self._refuse_twice(row, connection)
        is_selected = connection.pk in selected or self._selects_new(connection)
        return Plan(row.biz_id, connection if is_selected else None, changes, line=row.line)

    def _selected(self, pks: Sequence[int]) -> set[int]:
        """The connections among `pks` that the options select."""
        if selection.is_everything(self._options):
            return {*pks}
        selected = self._selection.filter(pk__in=pks).values_list("pk", "biz_id")
        return {pk for pk, biz_id in selected if self._ids is None or biz_id in self._ids}

    def _selects_new(self, connection: StripeConnection) -> bool:
        """Whether the options select a connection that is not saved yet."""
        tenants, workspaces = self._options["tenant"], self._options["workspace"]
        workspace = connection.workspace
        return (
            connection.pk is None
            and self._ids is None
            and not any(self._options[name] for name in NOT_FOR_NEW)
            and (not tenants or workspace.tenant.biz_id in tenants)
            and (not workspaces or workspace.biz_id in workspaces)
        )

    def _refuse_twice(self, row: Row, connection: StripeConnection) -> None:
        for key in {row.key, connection.biz_id if connection.pk else row.key}:
            ((first,),) = self._lines.execute(FIRST_LINE, [key, row.line])
            if first != row.line:
                raise RefusedError(f"Line {first} has the same connection.")


def _found(rows: list[Row], workspaces: dict[str, Workspace]) -> dict[str, list[StripeConnection]]:
    """The connections of `rows` by each of their keys."""
    by_pk = {workspace.pk: workspace for workspace in workspaces.values()}
    names = {row.name for row in rows if not row.biz_id}
    named = Q(workspace__in=by_pk, connection_name__in=names)
    ids = Q(biz_id__in=[row.biz_id for row in rows if row.biz_id])
    found: dict[str, list[StripeConnection]] = defaultdict(list)
    for connection in StripeConnection.objects.filter(ids | named).defer(*TIMES).order_by("pk"):
        found[connection.biz_id].append(connection)
        if workspace := by_pk.get(connection.workspace_id):
            connection.workspace = workspace
            found[f"{workspace.biz_id} {connection.connection_name}"].append(connection)
    return found


def _connection(
    row: Row, workspaces: dict[str, Workspace], found: list[StripeConnection]
) -> StripeConnection:
    """The connection to update, or an unsaved one."""
    workspace = workspaces.get(row.cells["workspaceId"])
    if not workspace or row.cells.get("tenantBizId") not in (None, workspace.tenant.biz_id):
        raise RefusedError("The workspace does not exist, or it belongs to another tenant.")
    if len(found) > 1:
        raise RefusedError("Several connections have this name. Add the bizId.")
    if not found and not row.name:
        raise RefusedError("The connection does not exist. A new one needs a connectionName.")
    connection = found[0] if found else StripeConnection(workspace=workspace)
    if connection.workspace_id != workspace.pk:
        raise RefusedError("The connection of this bizId is in another workspace.")
    if row.biz_id:
        connection.biz_id = row.biz_id
    return connection


def _changes(row: Row, connection: StripeConnection) -> dict[str, Any]:
    """What the row changes, or all that it has of a new connection."""
    changes = different(connection, row.values) if connection.pk else row.values
    for name in TEXTS:
        if file_formats.is_misread(str(changes.get(name))):
            raise RefusedError(
                f"{API_NAMES[name]}: Its letters were misread (UTF-8 as Windows-1252). Export "
                "with --bom, and edit that file."
            )
    version, now = str(row.cells.get("version", connection.version)), connection.version
    if connection.pk and changes and int(version.partition(".")[0]) != now:
        raise RefusedError(
            f"It has changed since the export (version {version}, now {now}). Remove the version "
            "to overwrite the change."
        )
    return changes
