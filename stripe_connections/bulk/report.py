"""The output of a command: rows, progress and counts, as text or JSON."""

import json
import time
from collections import Counter
from typing import Any

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OUTCOMES = ("changed", "unchanged", "skipped", "failed")
# Changed rows in a text, unless all are requested. Failed rows are always reported.
MAX_SHOWN = 20


class OutputClosedError(Exception):
    """The reader of the output has gone, or the output cannot be written."""


class Report:
    """Writes rows, progress and counts.

    JSON is one object on one line, at the end: `rows`, then the counts. Changed rows are only
    counted with a `verbosity` of 0; a text has the first of them with 1, and all with 2.

    If the output is closed, the command stops at the next `advance`, never between the rows of a
    transaction.
    """

    def __init__(
        self, out: OutputWrapper, err: OutputWrapper, *, is_json: bool, verbosity: int = 1
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._out, self._err, self._is_json = out, err, is_json
        self._most_shown = 0 if verbosity == 0 else MAX_SHOWN if verbosity == 1 else None
        # Why the output cannot be written.
        self.problem = ""
        self._rows: list[dict[str, Any]] = []
        self._started = time.monotonic()
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("·"), TimeRemainingColumn())
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not err.isatty())

    def start(self, total: int) -> None:
        """Show progress up to `total`: a bar on a terminal, otherwise a line for every tenth."""
        self._bar.add_task("", total=total)
        self._bar.start()

    def advance(self, count: int) -> None:
        """Add `count` rows to the progress; OutputClosedError."""
        (task,) = self._bar.tasks
        tenths = task.percentage // 10
        self._bar.advance(task.id, count)
        if self._bar.disable and task.percentage // 10 > tenths:
            self._err.write(f"{task.completed} of {task.total}")
        if self.problem:
            raise OutputClosedError

    def row(self, outcome: str, biz_id: str | None, text: str = "", **details: Any) -> None:
        """Count a row as `outcome` and report it, unless its `text` is empty.

        `details` are for the JSON, and must contain everything that the text says.
        """
        self.counts[outcome] += 1
        if text and (outcome == "failed" or self._is_shown(self.counts[outcome])):
            self.entry(
                f"{outcome}  {biz_id or '-'}  {text}", outcome=outcome, bizId=biz_id, **details
            )

    def _is_shown(self, number: int) -> bool:
        most = self._most_shown
        if most and number == most + 1:
            self.text("…  (--verbosity 2 shows every row)")
        return most is None or number <= most or (self._is_json and most > 0)

    def fail(self, biz_id: str | None, error: str, line: int | None = None) -> None:
        """Report a row as failed; `line` is its line in a file."""
        at = {} if line is None else {"line": line}
        text = error if line is None else f"line {line}: {error}"
        self.row("failed", biz_id, text, **at, error=error)

    def entry(self, text: str, **details: Any) -> None:
        """A line of text, or in JSON an entry of `rows` with these `details`."""
        if self._is_json:
            self._rows.append(details)
        else:
            self.text(text)

    def text(self, text: str) -> None:
        """A line of text, omitted from JSON."""
        if self._is_json:
            return
        if self._out.isatty() and not self._bar.disable:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._write(text)

    def discard(self) -> None:
        """Count changed and unchanged rows as skipped, because the transaction is rolled back."""
        self.text("Nothing is written.")
        self.counts["skipped"] += self.counts["changed"] + self.counts["unchanged"]
        self.counts["changed"] = self.counts["unchanged"] = 0
        self._rows = [row for row in self._rows if row.get("outcome") == "failed"]

    def close(self, *, is_applied: bool | None, **figures: Any) -> None:
        """Write the summary; `is_applied` is None for a command that only reads."""
        self._bar.stop()
        seconds = round(time.monotonic() - self._started, 2)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
        if self._is_json:
            applied = {} if is_applied is None else {"applied": is_applied}
            found = {"rows": self._rows, **self.counts, **applied, "seconds": seconds, **figures}
            self._write(json.dumps(found, ensure_ascii=False))
        else:
            self._write(f"{counts} in {seconds} s")
            if is_applied is False:
                self._write("This was a dry run: nothing was written. Add --apply to write.")
        if self.problem:
            self._err.write(f"{counts} in {seconds} s")

    def _write(self, text: str) -> None:
        try:
            if not self.problem:
                self._out.write(text)
                self._out.flush()
        except OSError as error:
            self.problem = f"The output cannot be written: {error.strerror}."
