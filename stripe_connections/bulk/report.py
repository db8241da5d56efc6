"""What a command reports: rows, progress and counts, for people or for machines."""

import json
import time
from collections import Counter
from typing import Any

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OUTCOMES = ("changed", "unchanged", "skipped", "failed")
# The changed rows that people see unless they ask for all; failed rows are always reported.
MAX_SHOWN = 20


class OutputClosedError(Exception):
    """Nobody reads the output any more, or it cannot be written."""


class Report:
    """Reports each row that is worth a line, the progress, and the counts.

    As JSON it is one object on one line, at the end: `rows`, then the counts. With a `verbosity`
    of 0 changed rows are only counted, with 1 people see the first of them, with 2 all.

    A closed output is noticed when it is written to, and stops the command at the next `advance`,
    so never between the rows of a transaction.
    """

    def __init__(
        self, out: OutputWrapper, err: OutputWrapper, *, is_json: bool, verbosity: int = 1
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._out, self._err, self._is_json = out, err, is_json
        self._most_shown = 0 if verbosity == 0 else MAX_SHOWN if verbosity == 1 else None
        # What prevents further output.
        self.problem = ""
        self._rows: list[dict[str, Any]] = []
        self._started = time.monotonic()
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("·"), TimeRemainingColumn())
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not err.isatty())

    def start(self, total: int) -> None:
        """Show the progress towards `total`: a bar on a terminal, else a line for each tenth."""
        self._bar.add_task("", total=total)
        self._bar.start()

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def advance(self, count: int) -> None:
        """Report that `count` more rows are done; OutputClosedError."""
        (task,) = self._bar.tasks
        tenths = task.percentage // 10
        self._bar.advance(task.id, count)
        if self._bar.disable and task.percentage // 10 > tenths:
            self._err.write(f"{task.completed} of {task.total}")
        if self.problem:
            raise OutputClosedError

    def row(self, outcome: str, biz_id: str | None, text: str = "", **details: Any) -> None:
        """Count a row as `outcome` and, if there is a `text`, report it.

        `details` are for the JSON and must hold what the text says.
        """
        self.counts[outcome] += 1
        if text and (outcome == "failed" or self._is_shown(self.counts[outcome])):
            self.tell(
                f"{outcome}  {biz_id or '-'}  {text}", outcome=outcome, bizId=biz_id, **details
            )

    def _is_shown(self, number: int) -> bool:
        most = self._most_shown
        if most and number == most + 1:
            self.say("…  (--verbosity 2 shows every row)")
        return most is None or number <= most or (self._is_json and most > 0)

    def fail(self, biz_id: str | None, error: str, line: int | None = None) -> None:
        """Count a row as failed, and say why; `line` is a file's."""
        if line is None:
            self.row("failed", biz_id, error, error=error)
        else:
            self.row("failed", biz_id, f"line {line}: {error}", line=line, error=error)

    def tell(self, text: str, **details: Any) -> None:
        """A line for people, or `details` as an entry of `rows`."""
        if self._is_json:
            self._rows.append(details)
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """A line for people."""
        if self._is_json:
            return
        if self._out.isatty() and not self._bar.disable:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._write(text)

    def discard(self) -> None:
        """Count as skipped what was reported as changed or unchanged: nothing is kept of it."""
        self.say("Nothing is written.")
        self.counts["skipped"] += self.counts["changed"] + self.counts["unchanged"]
        self.counts["changed"] = self.counts["unchanged"] = 0
        self._rows = [row for row in self._rows if row.get("outcome") == "failed"]

    def close(self, *, is_applied: bool | None, **figures: Any) -> None:
        """The summary; `is_applied` is None for a command that only reads."""
        self.stop()
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
