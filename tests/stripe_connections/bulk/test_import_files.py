"""The files that `import_connections` reads: encodings, separators, quotes and broken lines."""

import io
import json

import pytest
from django.core.management import call_command

from tests.stripe_connections.bulk.conftest import run
from tests.stripe_connections.bulk.test_import_connections import (
    GOOD,
    exported,
    imported,
    unexpected,
)

pytestmark = pytest.mark.only_on("sqlite", reason="reading a file does not use the database")


@pytest.mark.parametrize(
    ("arguments", "begins_with_mark"),
    [((), True), (("--no-bom",), False), (("--format", "json"), False)],
)
def test_csv_file_starts_with_a_byte_order_mark(connection, tmp_path, arguments, begins_with_mark):
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        call_command("export_connections", *arguments, stdout=file)

    data = (tmp_path / "out").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf") == begins_with_mark
    assert imported(data, "--apply").counts == (0, 1, 0, 0)


@pytest.mark.parametrize(("arguments", "first"), [((), "w"), (("--bom",), "\ufeff")])
def test_csv_in_a_pipe_has_a_byte_order_mark_only_with_the_option(connection, arguments, first):
    assert run("export_connections", "--format", "csv", *arguments).out.startswith(first)


FLAWLESS = "workspaceId,bizId,connectionName\nws_demo,sc_abc123,New\n"
CURIOUS = {
    "semicolons": FLAWLESS.replace(",", ";"),
    "tabs": FLAWLESS.replace(",", "\t"),
    "sep line": "sep=;\r\n" + FLAWLESS.replace(",", ";"),
    "sep line with commas": f"sep=,\n{FLAWLESS}",
    "blank first lines": f"\r\n \n{FLAWLESS}",
    "empty rows": f"{FLAWLESS},,\n\n,,,,\n",
    "empty columns at the end": FLAWLESS.replace("\n", ",,\n"),
    "empty column in the rows alone": FLAWLESS.replace("New\n", "New,\n"),
    "version as a decimal": FLAWLESS.replace("\n", ",version\n", 1).replace("New", "New,1.0"),
    "version as a JSON number": '\n{"workspaceId": "ws_demo", "bizId": "sc_abc123", '
    '"connectionName": "New", "version": 1.0}',
}


@pytest.mark.parametrize("text", CURIOUS.values(), ids=CURIOUS)
def test_file_changed_by_a_spreadsheet_is_accepted(connection, text):
    assert imported(text, "--apply").counts == (1, 0, 0, 0)


def test_line_numbers_include_skipped_lines(connection):
    result = imported("\nsep=;\nworkspaceId;bizId\n;;\nws_none;sc_abc123\n")

    assert [row["line"] for row in result.json["rows"]] == [5]


BROKEN = [
    (b"workspaceId,bizId\nws_demo,sc_\xff", 2, "The line is not UTF-8."),
    ("workspaceId,bizId\nws_demo".encode("utf-16"), 1, "The line is not UTF-8."),
    (b'workspaceId,bizId\nws_demo,"sc_abc123"x', 2, "The line is not valid CSV."),
    (b'workspaceId,bizId\nws_demo,"sc_abc123', 2, "The line is not valid CSV."),
    (
        b"workspaceId,bizId\n\nws_demo,sc_abc123,x",
        3,
        "The row has 3 cells, and the header has 2.",
    ),
    (b"workspaceId,bizId,bizId", 1, "A column occurs twice."),
    (b"workspaceId,apikey", 1, "1 unknown columns"),
    (b"workspaceId," + b"x" * 300_000, 1, "The line is longer than 262144 bytes."),
    (b"", 1, "The file is empty."),
    (b"\n \n", 1, "The file is empty."),
    (b'[{"workspaceId": "ws_demo"}]', 1, "This is a JSON array. Write one object on each line"),
    (b"workspaceId,bizId\rws_demo,sc_abc123\r", 1, "The lines end with CR only."),
    (
        b"workspaceId,bizId\r" + b"ws_demo,sc_abc123\r" * 50_000,
        1,
        "The lines end with CR only",
    ),
    (b'{"workspaceId"', 1, "The line is not valid JSON."),
    (b'{"bizId": "sc_a", "bizId": "sc_b"}', 1, "The line is not valid JSON."),
    (b'{"a": ' * 30_000, 1, "The line is not valid JSON."),
    (b'workspaceId,bizId\nws_demo,"' + b"x\n" * 200_000, 65_538, "The line is not valid CSV."),
]


def test_broken_file_is_refused(connection, stored):
    before = stored(connection)

    results = [imported(text, "--apply") for text, *_ in BROKEN]

    first = [result.json["rows"][0] for result in results]
    assert {result.code for result in results} == {1}
    assert [row["line"] for row in first] == [line for _, line, _ in BROKEN]
    assert unexpected([error for *_, error in BROKEN], [row["error"] for row in first]) == []
    assert stored(connection) == before


def test_too_long_line_is_not_read_completely(connection):
    class Endless(io.RawIOBase):
        served = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.served += len(buffer)
            assert self.served < 2**20
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
        out = io.StringIO()
        with pytest.raises(Exception, match="1 failed"):
            call_command("import_connections", "-", "--format", "json", stdout=out)

    assert "The line is longer than 262144 bytes." in out.getvalue()


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "text",
    [b"workspaceId,bizId,connectionName\r\nws_demo,sc_abc123,New\r\n", json.dumps(GOOD).encode()],
    ids=["csv", "json"],
)
def test_byte_order_mark_is_ignored(connection, bom, text):
    assert imported(bom + text, "--apply").counts == (1, 0, 0, 0)


@pytest.mark.parametrize("name", ["connectionName", "connectionDescription"])
def test_text_in_the_wrong_encoding_is_refused(connection, stored, name):
    before = stored(connection)
    misread = "Café Zürich".encode().decode("cp1252")

    result = imported(json.dumps({**GOOD, name: misread}), "--apply")

    assert result.code == 1
    assert result.json["rows"][0]["error"].startswith(f"{name}: Its letters were misread")
    assert stored(connection) == before


def test_stored_text_may_look_wrongly_encoded(workspace, make_connection):
    make_connection(workspace, "sc_odd", connection_name="CafÃ©")

    assert imported(exported("csv"), "--apply").counts == (0, 1, 0, 0)
