r"""The files of import and export: CSV or JSON lines, with the API's names, in UTF-8.

CSV has only text, and spreadsheets execute cells that begin with = + - or @. So a backslash at the
beginning is an escape: `\N` is null, a backslash alone is the empty text, and any other text
follows the backslash. An empty cell leaves the field unchanged.
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

# A row has at most 16 KiB of configuration, which quoting can double.
MAX_LINE_BYTES = 256 * 1024
DESCRIPTIONS = {"Hint": "hint", "Fingerprint": "fingerprint", "ReplacedAt": "replaced_at"}
# Column of an export and path of the attribute. An import also reads version and tenantBizId, and
# ignores the columns after them.
EXPORTED = {
    "workspaceId": "workspace.biz_id",
    "bizId": "biz_id",
    **{name: column for column, name in API_NAMES.items() if column not in SECRET_FIELDS},
    "version": "version",
    "tenantBizId": "workspace.tenant.biz_id",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    **{
        f"{API_NAMES[column]}{name}": f"{column}_{suffix}"
        for column in SECRET_FIELDS
        for name, suffix in DESCRIPTIONS.items()
    },
}
IMPORTED = (*EXPORTED, *SECRET_NAMES)

NULL = "\\N"
_ESCAPED = tuple("\\=+-@\t\r\n'")

# The number of the first line of a row, and its cells or why it is invalid.
Cells = dict[str, Any] | RefusedError
Numbered = tuple[int, Cells]


class BadFileError(Exception):
    """The file cannot be read from `line` on; the message does not quote it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def exported(connection: StripeConnection) -> dict[str, Any]:
    """A connection as a row of a file, with hints and fingerprints and without secrets."""
    row = {name: attrgetter(path)(connection) for name, path in EXPORTED.items()}
    times = {name: value.isoformat() for name, value in row.items() if isinstance(value, datetime)}
    return row | times | {"status": Status(connection.status).name}


class _Echo:
    """A file for the csv module that returns what is written to it."""

    def write(self, line: str) -> str:
        return line


def csv_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A header and `rows`, one by one."""
    writer = csv.writer(_Echo())
    yield writer.writerow(EXPORTED)
    for row in rows:
        yield writer.writerow([_cell(value) for value in row.values()])


def json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return NULL
    text = str(value)
    return f"\\{text}" if not text or text.startswith(_ESCAPED) else text


def read(file: IO[bytes]) -> Iterator[Numbered]:
    """The rows of a file; BadFileError if the rest of it cannot be read.

    A file that begins with { has JSON lines, any other is CSV with a header. The separator of its
    columns is the comma, semicolon or tab that is most frequent in the header, or the one in a
    first line such as `sep=;`, which Excel reads and writes.
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
            raise BadFileError(1, "The lines end with CR only. Save the file with LF or CRLF.")
        if len(line) > MAX_LINE_BYTES:
            raise BadFileError(number, f"The line is longer than {MAX_LINE_BYTES} bytes.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadFileError(number, "The line is not UTF-8.") from None


def _json_rows(lines: Iterable[tuple[int, str]]) -> Iterator[Numbered]:
    for number, line in lines:
        if line.strip():
            yield number, _json_row(line)


def _json_row(line: str) -> Cells:
    try:
        row = parse_json(line)
    except ValueError:
        return RefusedError("The line is not valid JSON.")
    if not isinstance(row, dict):
        return RefusedError("The line is not a JSON object.")
    return row if row.keys() <= {*IMPORTED} else RefusedError(_unknown(row))


def _csv_rows(lines: Iterable[str], delimiter: str, first: int) -> Iterator[Numbered]:
    """The rows below the header in line `first`."""
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    try:
        header = _trimmed([name.strip() for name in next(reader, [])], 0)
        if not {*header} <= {*IMPORTED}:
            raise BadFileError(first, _unknown(header))
        if len({*header}) != len(header):
            raise BadFileError(first, "A column occurs twice.")
        number = first + reader.line_num
        for cells in reader:
            if any(cells):
                yield number, _csv_row(header, _trimmed(cells, len(header)))
            number = first + reader.line_num
    except csv.Error:
        # The original message may quote a cell.
        raise BadFileError(first - 1 + reader.line_num, "The line is not valid CSV.") from None


def _trimmed(cells: list[str], least: int) -> list[str]:
    """Remove empty cells from the end, which spreadsheets add, but keep `least` cells."""
    while len(cells) > least and not cells[-1]:
        cells.pop()
    return cells


def _csv_row(header: list[str], cells: list[str]) -> Cells:
    if len(cells) != len(header):
        return RefusedError(f"The row has {len(cells)} cells, and the header has {len(header)}.")
    pairs = zip(header, cells, strict=True)
    return {name: None if c == NULL else c.removeprefix("\\") for name, c in pairs if c}


def is_misread(text: str) -> bool:
    """Whether a spreadsheet read UTF-8 as Windows-1252, so that "é" became two letters."""
    try:
        return not text.isascii() and bool(text.encode("cp1252").decode())
    except UnicodeError:
        return False


def _unknown(names: Iterable[str]) -> str:
    # Unknown names are not quoted, because a file without a header begins with values.
    unknown = {*names}.difference(IMPORTED)
    return f"{len(unknown)} unknown columns. Allowed are: {', '.join(IMPORTED)}."
