r"""The files of import and export: CSV or JSON lines, with the API's names, in UTF-8.

CSV knows only texts, and a spreadsheet runs what begins with = + - or @. So a backslash in front
is an escape: `\N` is null, a backslash alone is the empty text, and otherwise it is taken off.
An empty cell leaves the field as it is.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from config.web_chain.parsers import parse_json
from stripe_connections.bulk.changes import API_NAMES, SECRET_NAMES, shown
from stripe_connections.models import SECRET_FIELDS, StripeConnection

# A row holds at most 16 KiB of configuration, doubled by quotes; a longer line is no row of ours.
MAX_LINE_BYTES = 256 * 1024
KEYS = ("workspaceId", "bizId")
TEXT_COLUMNS = {name: c for c, name in API_NAMES.items() if c not in SECRET_FIELDS}
# What an export holds besides, for people; an import looks at the first two of it.
TRACES = ("Hint", "Fingerprint", "ReplacedAt")
FACTS = (
    *("version", "tenantBizId", "createdAt", "updatedAt"),
    *(f"{name}{trace}" for name in SECRET_NAMES for trace in TRACES),
)
EXPORTED = (*KEYS, *TEXT_COLUMNS, *FACTS)
IMPORTED = frozenset((*EXPORTED, *SECRET_NAMES))

NULL = "\\N"
_ESCAPED = tuple("\\=+-@\t\r\n'")


class BadRowError(Exception):
    """A row cannot be used; the text says why and repeats nothing of it."""


class BadFileError(Exception):
    """Nothing more can be read from `line` on; the text says why and repeats nothing of it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def exported(connection: StripeConnection) -> dict[str, Any]:
    """A connection as a row of a file: never a secret, its hint and fingerprint instead."""
    row = {
        "workspaceId": connection.workspace.biz_id,
        "bizId": connection.biz_id,
        "version": connection.version,
        "tenantBizId": connection.workspace.tenant.biz_id,
        "createdAt": connection.created_at.isoformat(),
        "updatedAt": connection.updated_at.isoformat(),
    }
    row |= {name: shown(connection, column) for name, column in TEXT_COLUMNS.items()}
    for column in SECRET_FIELDS:
        name, replaced = API_NAMES[column], getattr(connection, f"{column}_replaced_at")
        row[f"{name}Hint"] = getattr(connection, f"{column}_hint")
        row[f"{name}Fingerprint"] = getattr(connection, f"{column}_fingerprint")
        row[f"{name}ReplacedAt"] = replaced and replaced.isoformat()
    return {name: row[name] for name in EXPORTED}


class _Echo:
    """A file that hands back what is written to it, for the csv module."""

    def write(self, line: str) -> str:
        return line


def csv_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A header and `rows`, each as it comes."""
    writer = csv.writer(_Echo())
    yield writer.writerow(EXPORTED)
    for row in rows:
        yield writer.writerow([_cell(value) for value in row.values()])


def write_csv(rows: Iterable[dict[str, Any]], file: Any) -> None:
    """Write a header and `rows`, each as it comes."""
    file.writelines(csv_lines(rows))


def write_json_lines(rows: Iterable[dict[str, Any]], file: Any) -> None:
    """Write `rows`, each as it comes."""
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return NULL
    text = str(value)
    return f"\\{text}" if not text or text.startswith(_ESCAPED) else text


def read(file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any] | BadRowError]]:
    """Each row of a file with the number of its first line, or what is wrong with it.

    A file whose first character is { holds JSON lines, any other is CSV with a header. Raises a
    BadFileError where nothing more can be read.
    """
    lines = _lines(file)
    first = next(lines, "")
    if first.startswith("{"):
        yield from _read_json_lines(first, lines)
    else:
        yield from _read_csv(first, lines)


def _lines(file: IO[bytes]) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise BadFileError(number, f"It is longer than {MAX_LINE_BYTES} bytes.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadFileError(number, "It is not UTF-8.") from None


def _read_json_lines(
    first: str, lines: Iterator[str]
) -> Iterator[tuple[int, dict[str, Any] | BadRowError]]:
    line: str | None = first
    number = 0
    while line is not None:
        number += 1
        if line.strip():
            yield number, _json_row(line)
        line = next(lines, None)


def _json_row(line: str) -> dict[str, Any] | BadRowError:
    try:
        row = parse_json(line)
    except ValueError:
        return BadRowError("It is not valid JSON.")
    if not isinstance(row, dict):
        return BadRowError("It is not a JSON object.")
    return row if row.keys() <= IMPORTED else BadRowError(_unknown(row))


def _read_csv(
    first: str, lines: Iterator[str]
) -> Iterator[tuple[int, dict[str, Any] | BadRowError]]:
    def all_lines() -> Iterator[str]:
        yield first
        yield from lines

    reader = csv.reader(all_lines(), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not set(header) <= IMPORTED:
            raise BadFileError(1, f"{_unknown(header)}")
        if len(set(header)) != len(header):
            raise BadFileError(1, "A column is there twice.")
        number = reader.line_num + 1
        for cells in reader:
            if cells:
                yield number, _csv_row(header, cells)
            number = reader.line_num + 1
    except csv.Error:
        # The reader's own words may quote a cell.
        raise BadFileError(reader.line_num, "It is not valid CSV.") from None


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | BadRowError:
    if len(cells) != len(header):
        return BadRowError(f"It has {len(cells)} cells, and the header has {len(header)}.")
    pairs = zip(header, cells, strict=True)
    return {name: None if c == NULL else c.removeprefix("\\") for name, c in pairs if c}


def _unknown(names: Iterable[str]) -> str:
    # No unknown name is repeated: a file without a header begins with values.
    count = len({*names}.difference(IMPORTED))
    return f"{count} of the names are none of: {', '.join((*EXPORTED, *SECRET_NAMES))}."
