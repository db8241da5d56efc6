"""What a command tells: rows, progress and counts, for people or for machines."""

import json
import time
from collections import Counter
from typing import Any

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OUTCOMES = ("changed", "unchanged", "skipped", "failed")


class Report:
    """Tells what happens: each row that is worth a line, the progress, and the counts.

    As JSON it is one object on one line, at the end: `rows`, then the counts.
    """

    def __init__(self, out: OutputWrapper, err: OutputWrapper, *, is_json: bool) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._out, self._err, self._is_json = out, err, is_json
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
        """So many more rows are done."""
        (task,) = self._bar.tasks
        tenths = task.percentage // 10
        self._bar.advance(task.id, count)
        if self._bar.disable and task.percentage // 10 > tenths:
            self._err.write(f"{task.completed} of {task.total}")

    def row(self, outcome: str, biz_id: str | None, text: str = "", **details: Any) -> None:
        """Count a row as `outcome` and, where there is a `text`, tell about it.

        `details` are for the JSON and must hold what the text says.
        """
        self.counts[outcome] += 1
        if text:
            self.tell(
                f"{outcome}  {biz_id or '-'}  {text}", outcome=outcome, bizId=biz_id, **details
            )

    def fail(self, biz_id: str | None, error: str) -> None:
        """Count a row as failed, and say why."""
        self.row("failed", biz_id, error, error=error)

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
            self._out.write(text)

    def close(self, *, is_applied: bool | None, **figures: Any) -> None:
        """The summary; `is_applied` is None for a command that only reads."""
        self.stop()
        seconds = round(time.monotonic() - self._started, 2)
        if self._is_json:
            applied = {} if is_applied is None else {"applied": is_applied}
            told = {"rows": self._rows, **self.counts, **applied, "seconds": seconds, **figures}
            self._out.write(json.dumps(told, ensure_ascii=False))
            return
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
        self._out.write(f"{counts} in {seconds} s")
        if is_applied is False:
            self._out.write("This was a dry run: nothing was written. Add --apply to write.")
