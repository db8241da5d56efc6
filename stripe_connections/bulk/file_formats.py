r"""The files of import and export: CSV or JSON lines, with the API's names, in UTF-8.

CSV knows only texts, and a spreadsheet runs what begins with = + - or @. So a backslash in front
is an escape: `\N` is null, a backslash alone is the empty text, and otherwise it is taken off.
An empty cell leaves the field as it is.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, count
from operator import attrgetter
from typing import IO, Any

from config.web_chain.parsers import parse_json
from stripe_connections.bulk.pipeline import RefusedError
from stripe_connections.models import SECRET_FIELDS, Status, StripeConnection
from stripe_connections.validation.serializers import API_NAMES, SECRET_NAMES

# A row holds at most 16 KiB of configuration, doubled by quotes; a longer line is not a row.
MAX_LINE_BYTES = 256 * 1024
TRACES = {"Hint": "hint", "Fingerprint": "fingerprint", "ReplacedAt": "replaced_at"}
# Where what an export holds is found. An import looks at version and tenantBizId, too; the rest
# after them is for people.
EXPORTED = {
    "workspaceId": "workspace.biz_id",
    "bizId": "biz_id",
    **{name: column for column, name in API_NAMES.items() if column not in SECRET_FIELDS},
    "version": "version",
    "tenantBizId": "workspace.tenant.biz_id",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    **{
        f"{API_NAMES[column]}{name}": f"{column}_{trace}"
        for column in SECRET_FIELDS
        for name, trace in TRACES.items()
    },
}
IMPORTED = (*EXPORTED, *SECRET_NAMES)

NULL = "\\N"
_ESCAPED = tuple("\\=+-@\t\r\n'")

# What a row holds, or what is wrong with it; and the number of its first line.
Cells = dict[str, Any] | RefusedError
Numbered = tuple[int, Cells]


class BadFileError(Exception):
    """Nothing more can be read from `line` on; the message says why, without quoting it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def exported(connection: StripeConnection) -> dict[str, Any]:
    """A connection as a row of a file: never a secret, its hint and fingerprint instead."""
    row = {name: attrgetter(path)(connection) for name, path in EXPORTED.items()}
    times = {name: value.isoformat() for name, value in row.items() if isinstance(value, datetime)}
    return row | times | {"status": Status(connection.status).name}


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


def json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The `rows`, each as it comes."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return NULL
    text = str(value)
    return f"\\{text}" if not text or text.startswith(_ESCAPED) else text


def read(file: IO[bytes]) -> Iterator[Numbered]:
    """The rows of a file; raises BadFileError if nothing more can be read.

    A file whose first character is { holds JSON lines, any other is CSV with a header. The
    columns are separated by commas, semicolons or tabs, whichever the header has most of, or by
    what a line such as `sep=;` says, which Excel writes and reads.
    """
    lines = enumerate(_lines(file), start=1)
    number, first = next(((n, line) for n, line in lines if line.strip()), (1, ""))
    if not first:
        raise BadFileError(1, "The file is empty.")
    if first.startswith("["):
        raise BadFileError(number, "This is a JSON array. Write one object on each line instead.")
    if first.startswith("{"):
        return _json_rows(chain(((number, first),), lines))
    delimiter = max(",;\t", key=first.count)
    if first.lower().startswith("sep="):
        delimiter = first[4:5]
        number, first = next(lines, (number, ""))
    return _csv_rows(chain((first,), (line for _, line in lines)), delimiter, number)


def _lines(file: IO[bytes]) -> Iterator[str]:
    for number in count(1):
        line = file.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if number == 1 and b"\r" in line.rstrip(b"\r\n"):
            raise BadFileError(1, "The lines end with CR alone. Save it with LF or CRLF.")
        if len(line) > MAX_LINE_BYTES:
            raise BadFileError(number, f"It is longer than {MAX_LINE_BYTES} bytes.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadFileError(number, "It is not UTF-8.") from None


def _json_rows(lines: Iterable[tuple[int, str]]) -> Iterator[Numbered]:
    for number, line in lines:
        if line.strip():
            yield number, _json_row(line)


def _json_row(line: str) -> Cells:
    try:
        row = parse_json(line)
    except ValueError:
        return RefusedError("It is not valid JSON.")
    if not isinstance(row, dict):
        return RefusedError("It is not a JSON object.")
    return row if row.keys() <= {*IMPORTED} else RefusedError(_unknown(row))


def _csv_rows(lines: Iterable[str], delimiter: str, first: int) -> Iterator[Numbered]:
    """The rows below the header, which is line `first`."""
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    try:
        header = _trimmed([name.strip() for name in next(reader, [])], 0)
        if not {*header} <= {*IMPORTED}:
            raise BadFileError(first, _unknown(header))
        if len({*header}) != len(header):
            raise BadFileError(first, "A column is there twice.")
        number = first + reader.line_num
        for cells in reader:
            if any(cells):
                yield number, _csv_row(header, _trimmed(cells, len(header)))
            number = first + reader.line_num
    except csv.Error:
        # The reader's message may quote a cell.
        raise BadFileError(first - 1 + reader.line_num, "It is not valid CSV.") from None


def _trimmed(cells: list[str], least: int) -> list[str]:
    """Without the empty cells at the end, which spreadsheets add, but at `least` that many."""
    while len(cells) > least and not cells[-1]:
        cells.pop()
    return cells


def _csv_row(header: list[str], cells: list[str]) -> Cells:
    if len(cells) != len(header):
        return RefusedError(f"It has {len(cells)} cells, and the header has {len(header)}.")
    pairs = zip(header, cells, strict=True)
    return {name: None if c == NULL else c.removeprefix("\\") for name, c in pairs if c}


def is_misread(text: str) -> bool:
    """Whether a spreadsheet took UTF-8 for Windows-1252: "é" became two letters."""
    try:
        return not text.isascii() and bool(text.encode("cp1252").decode())
    except UnicodeError:
        return False


def _unknown(names: Iterable[str]) -> str:
    # No unknown name is repeated: a file without a header begins with values.
    unknown = {*names}.difference(IMPORTED)
    return f"{len(unknown)} of the names are none of: {', '.join(IMPORTED)}."
