"""How far long work is: a bar on a terminal, a plain line for each tenth elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from daemon.cli.output import notice, size

OnProgress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


class Unit(Enum):
    """What the steps of long work are counted in."""

    EVENTS = "events"
    BYTES = "bytes"
    SHARE = "share"
    """Of the whole; what is counted differs from part to part."""


class RateColumn(ProgressColumn):
    """How many are done a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, as far as it is known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


_COLUMNS: Final[Mapping[Unit, tuple[type[ProgressColumn], ...]]] = {
    Unit.EVENTS: (MofNCompleteColumn, RateColumn),
    Unit.BYTES: (DownloadColumn, TransferSpeedColumn),
    Unit.SHARE: (TaskProgressColumn,),
}


@contextmanager
def progress_shown(label: str, unit: Unit = Unit.EVENTS) -> Iterator[OnProgress]:
    """Yield what to call at each step; the steps are shown on stderr."""
    if not sys.stderr.isatty():
        yield _plain_lines(label, unit)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *(column() for column in _COLUMNS[unit]),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(label: str, unit: Unit) -> OnProgress:
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
            rate = (done - began) / (now - started) if now > started else None
            notice(f"{label}: {_said(done, total, rate, unit)}")

    return on_progress


def _said(done: int, total: int, rate: float | None, unit: Unit) -> str:
    if unit is Unit.SHARE:
        return f"{done * 100 // total} %"
    if unit is Unit.BYTES:
        return f"{size(done)} of {size(total)}" + (f", {size(rate)}/s" if rate else "")
    return f"{done} of {total}" + ("" if rate is None else f", {rate:.0f} a second")
