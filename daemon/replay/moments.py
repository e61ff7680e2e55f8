"""Moments: the views as of positions, built when they are asked for, and kept a while.

A bounded number of them, with a bounded size together, lies in the data directory as files; the one
that nobody has asked for the longest goes first. They are a cache: a start removes what is there.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.replay.checkpoints import FOLDER, remove_database, require_room
from daemon.replay.limits import MomentBounds
from daemon.replay.replay import Base, Progress
from domain.errors import ChronicledError, NotReady, QueueFull
from projections.views import Views

WAITING_MAX: Final = 8
"""How many moments may wait to be built; beyond, whoever asks is told to try again."""

Build = Callable[[int, Path, Sequence[Base], Progress], None]
"""Builds the views as of a position into a file, starting from what other moments there are."""
Open = Callable[[Path], Views]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Moment:
    """One moment: views where it is built, an error where that failed, else how far it is."""

    position: int
    path: Path
    views: Views | None = None
    error: Exception | None = None
    done: int = 0

    @property
    def size(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self.path.stat().st_size
        return 0


class Moments:
    """The moments of one log: a service that builds one a step.

    `views` may be called from any thread, `step` belongs to one.
    """

    name = "moments"

    def __init__(
        self, data: Path, live: Path, build: Build, open_views: Open, bounds: MomentBounds
    ) -> None:
        self.woken = threading.Event()
        self.folder = data / FOLDER / "moments"
        self._live = live
        self._build = build
        self._open = open_views
        self._bounds = bounds
        self._lock = threading.Lock()
        self._known: dict[int, _Moment] = {}
        self._waiting: deque[_Moment] = deque()
        self._listeners: list[Callable[[], None]] = []
        self._forgotten = 0
        """How often all of them were thrown away."""
        self._closed = False

    def views(self, position: int) -> Views | None:
        """Return the views as of a position; None while they are being built.

        Raises:
            QueueFull: too many others wait already.
            ChronicledError: they could not be built; the next who asks has it tried again.

        """
        with self._lock:
            if self._closed:
                raise NotReady("The daemon is stopping.")
            moment = self._known.pop(position, None)
            if moment is None:
                if len(self._waiting) >= WAITING_MAX:
                    raise QueueFull(f"{len(self._waiting)} other moments wait to be replayed.")
                moment = _Moment(position, self.folder / f"{position}.db")
                self._waiting.append(moment)
                self.woken.set()
            if moment.error is not None:
                raise moment.error
            # The last in order is the one that was asked for last.
            self._known[position] = moment
            return moment.views

    def reached(self, position: int) -> int:
        """Return how far the build of a moment is."""
        moment = self._known.get(position)
        return moment.done if moment is not None else 0

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back, on any thread, when a moment was built or has failed."""
        self._listeners.append(callback)

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """Build the moment that has waited longest; 0 when there are more."""
        with self._lock:
            moment = self._waiting.popleft() if self._waiting and not self._closed else None
            forgotten = self._forgotten
        if moment is None:
            return None
        try:
            self._prepare()
            self._build(moment.position, moment.path, self._bases(), self._progress_of(moment))
            views: Views | None = self._open(moment.path)
        except Exception as error:
            if not isinstance(error, ChronicledError):
                _logger.exception("position %d cannot be replayed", moment.position)
            views, moment.error = None, error
            remove_database(moment.path)
        with self._lock:
            # What was being built when the daemon closed is closed with the rest.
            closing, late = self._closed, self._forgotten > forgotten
            if not late:
                moment.views = views
            elif not closing:
                # It may hold what had to be forgotten, or was ended for that: it is built anew.
                moment.error, moment.done = None, 0
                self._waiting.appendleft(moment)
        if (closing or late) and views is not None:
            views.close()
        if late:
            remove_database(moment.path)
        for callback in list(self._listeners):
            callback()
        return 0

    def forget(self) -> None:
        """Throw away every moment that is built, or being built, and its file."""
        with self._lock:
            self._forgotten += 1
            for moment in [each for each in self._known.values() if each.views is not None]:
                del self._known[moment.position]
                self._drop(moment)

    def close(self) -> None:
        """Close the views, and remove the files."""
        with self._lock:
            self._closed = True
            for moment in self._known.values():
                self._drop(moment)
            self._known.clear()
            self._waiting.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        """Make room for one more moment."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            built = [each for each in self._known.values() if each.views is not None]
            while built and (
                len(built) >= self._bounds.count
                or sum(each.size for each in built) > self._bounds.bytes
            ):
                oldest = built.pop(0)
                del self._known[oldest.position]
                self._drop(oldest)
        require_room(self.folder, self._live)

    def _bases(self) -> list[Base]:
        with self._lock:
            built = [each for each in self._known.values() if each.views is not None]
            return [Base(each.position, each.path) for each in built]

    def _drop(self, moment: _Moment) -> None:
        """Close a moment; a query at work on it ends undisturbed."""
        if moment.views is not None:
            moment.views.close()
        remove_database(moment.path)

    @staticmethod
    def _progress_of(moment: _Moment) -> Progress:
        def progress(done: int, _goal: int) -> None:
            moment.done = done

        return progress
