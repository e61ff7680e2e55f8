"""How far long work is: a bar on a terminal, a plain line for each tenth elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from daemon.cli.output import notice

OnProgress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


class RateColumn(ProgressColumn):
    """How many are done a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, as far as it is known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def progress_shown(label: str) -> Iterator[OnProgress]:
    """Yield what to call at each step; the steps are shown on stderr."""
    if not sys.stderr.isatty():
        yield _plain_lines(label)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(label: str) -> OnProgress:
    told = 0
    first: tuple[int, float] | None = None

    def on_progress(done: int, total: int) -> None:
        nonlocal told, first
        now = time.monotonic()
        # What was done when it began, such as by a replay before, says nothing of the rate.
        began, started = first = first or (done, now)
        tenth = done * 10 // total if total else 0
        if tenth > told:
            told = tenth
            rate = f", {(done - began) / (now - started):.0f} a second" if now > started else ""
            notice(f"{label}: {done} of {total}{rate}")

    return on_progress
