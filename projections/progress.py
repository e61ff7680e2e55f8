"""How the projections stand, for those who watch, ask or wait; and what they may ask for.

`Projector` is the side that the rest of the daemon sees. Who does the work, here or in another
process, is its subclasses' business.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from projections.seam import ProjectionStatus


class Projector(ABC):
    """The projections of one log: their status, and requests to whoever keeps them up to date.

    Everything may be called from any thread.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._published = threading.Condition()
        self._status: list[ProjectionStatus] = []
        self._listeners: list[Callable[[], None]] = []
        self._caught_up = self._closed = False

    def status(self) -> list[ProjectionStatus]:
        """Return how each projection stands, by name."""
        with self._published:
            return list(self._status)

    @property
    def caught_up(self) -> bool:
        """Whether every projection that has not failed was at the head once since the start."""
        return self._caught_up

    def on_progress(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, on any thread, when the status may have changed; returns how to stop that."""
        with self._published:
            self._listeners.append(callback)

        def leave() -> None:
            with self._published:
                self._listeners.remove(callback)

        return leave

    def wait_for(
        self, position: int, timeout_seconds: float, names: Iterable[str] | None = None
    ) -> bool:
        """Wait until the live tables of these projections (default: all) know a position.

        A failed projection is not waited for; when all have failed the answer is False at once.
        """
        wanted = self._names if names is None else frozenset(names)
        with self._published:
            self._published.wait_for(
                lambda: self._closed or self._reached(position, wanted) is not None,
                timeout_seconds,
            )
            return self._reached(position, wanted) is True

    def _reached(self, position: int, names: frozenset[str]) -> bool | None:
        """Whether the tables know a position; None while they may yet come to."""
        known = [each for each in self._status if each.name in names]
        able = [each for each in known if each.state != "failed"]
        if known and not able:
            return False
        reached = all(each.state != "building" and each.position >= position for each in able)
        return True if able and reached else None

    def _show(self, read: Callable[[], list[ProjectionStatus]]) -> None:
        """Show the others how the projections stand, and wake those who wait for it."""
        with self._published:
            self._status = read()
            self._published.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def _end(self) -> None:
        """Let nobody wait any more."""
        with self._published:
            self._closed = True
            self._published.notify_all()

    @abstractmethod
    def wake(self) -> None:
        """Say that there may be new events."""

    @abstractmethod
    def request_rebuild(self, name: str | None = None) -> None:
        """Ask for a projection (default: all of them) to be built again from the log.

        It is `rebuilding` in the status from now until the new tables are live. One that is being
        built already goes on.

        Raises:
            NotFound: there is no such projection.

        """

    @abstractmethod
    def distrust(self) -> None:
        """Say that a reader found the file damaged: it is moved away, and built afresh."""

    @abstractmethod
    def close(self) -> None:
        """End the work, and close the files."""
