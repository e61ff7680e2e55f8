"""Building projections again from the log, and waiting until they are in use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from domain.errors import ChronicledError
from projections.progress import Projector
from projections.seam import ProjectionStatus

Progress = Callable[[int, int], None]
"""Called with what is done so far and what there is; it may raise to end the wait."""
_LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the daemon stops, when nothing else happens (seconds)."""


class ProjectionFailedError(ChronicledError):
    """A projection stands still on an error."""

    code = "projection_failed"
    title = "The projection failed"
    hint = "GET /readyz and the daemon's log say at which event; the log itself is not affected."


def rebuild(runner: Projector, name: str | None, progress: Progress) -> dict[str, Any]:
    """Build a projection again, or all of them; return when the new tables are in use.

    Raises:
        ProjectionFailedError: one stands still on an error.

    """
    changed = threading.Event()
    leave = runner.on_progress(changed.set)
    try:
        runner.request_rebuild(name)
        return await_live(runner, name, progress, changed)
    finally:
        leave()


def rebuild_anew(runner: Projector, progress: Progress) -> None:
    """Build all projections from what the log holds now.

    A build that is at work has read some of the log before now, so its end is waited for first.

    Raises:
        ProjectionFailedError: one stands still on an error.

    """
    changed = threading.Event()
    leave = runner.on_progress(changed.set)
    try:
        if any(status.state in ("building", "rebuilding") for status in runner.status()):
            await_live(runner, None, progress, changed)
        runner.request_rebuild(None)
        await_live(runner, None, progress, changed)
    finally:
        leave()


def await_live(
    runner: Projector, name: str | None, progress: Progress, changed: threading.Event
) -> dict[str, Any]:
    """Wait until what is being built is in use."""
    while True:
        changed.clear()
        wanted = [status for status in runner.status() if name in (None, status.name)]
        failed = [status for status in wanted if status.state == "failed"]
        if failed:
            raise ProjectionFailedError(f"{failed[0].name}: {failed[0].error}")
        progress(min(map(_reached, wanted)), max(status.head for status in wanted))
        if all(status.state == "live" for status in wanted):
            return {"ok": True, "projections": [status.name for status in wanted]}
        changed.wait(_LOOK_SECONDS)


def _reached(status: ProjectionStatus) -> int:
    return status.position if status.built is None else status.built
