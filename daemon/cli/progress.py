"""How far long work is: a bar on a terminal, a plain line for each tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daemon.cli.output import notice

OnProgress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


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
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(label: str) -> OnProgress:
    told = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal told
        tenth = done * 10 // total if total else 0
        if tenth > told:
            told = tenth
            notice(f"{label}: {done} of {total}")

    return on_progress
