"""What a command tells: rows, progress and counts, for people or for machines."""

import json
import time
from collections import Counter
from typing import Any

from django.core.management.base import (
    OutputWrapper,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OUTCOMES = ("changed", "unchanged", "skipped", "failed")


class Report:
    """Tells what happens: each row that is worth a line, the progress, and the counts.

    As JSON it is one object on one line, written as it comes about: `rows`, then the counts.
    """

    def __init__(self, out: OutputWrapper, err: OutputWrapper, *, is_json: bool) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._out, self._err, self._is_json = out, err, is_json
        self._separator = '{"rows": ['
        self._started = time.monotonic()
        self._bar: Progress | None = None
        self._done = self._total = 0

    def start(self, total: int) -> None:
        """Show the progress towards `total`: a bar on a terminal, else a line for each tenth."""
        self._total = total
        if self._err.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("·"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task("", total=total)
            self._bar.start()

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def advance(self, count: int) -> None:
        """So many more rows are done."""
        tenths = self._done * 10 // max(self._total, 1)
        self._done += count
        if self._bar:
            self._bar.advance(self._bar.task_ids[0], count)
        elif self._done * 10 // max(self._total, 1) > tenths:
            self._err.write(f"{self._done} of {max(self._total, self._done)}")

    def row(self, outcome: str, biz_id: str | None, text: str = "", **details: Any) -> None:
        """Count a row as `outcome` and, where there is a `text`, tell about it.

        `details` are for the JSON and must hold what the text says.
        """
        self.counts[outcome] += 1
        if text:
            self.tell(
                f"{outcome}  {biz_id or '-'}  {text}", outcome=outcome, bizId=biz_id, **details
            )

    def tell(self, text: str, **details: Any) -> None:
        """A line for people, or `details` as an entry of `rows`."""
        if self._is_json:
            self._out.write(self._separator + json.dumps(details, ensure_ascii=False), ending="")
            self._separator = ", "
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """A line for people."""
        if self._bar and self._out.isatty():
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._is_json:
            self._out.write(text)

    def close(self, *, is_applied: bool | None, **figures: Any) -> None:
        """The summary; `is_applied` is None for a command that only reads."""
        self.stop()
        seconds = round(time.monotonic() - self._started, 2)
        if self._is_json:
            applied = {} if is_applied is None else {"applied": is_applied}
            summary = json.dumps({**self.counts, **applied, "seconds": seconds, **figures})
            self._out.write(
                f"{self._separator if self._separator[0] == '{' else ''}], {summary[1:]}"
            )
            return
        self._out.write(
            ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
            + f" in {seconds} s"
        )
        if is_applied is False:
            self._out.write("This was a dry run: nothing was written. Add --apply to write.")
