"""Which files are of results of several jobs: such a file is deleted with the last of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from domain.errors import NotReady
from domain.lives import is_tombstone

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog
    from projections.views import Views

RESULTS_MAX: Final = 1_000
"""Of so many results of one file it is looked at whether they still need it."""

_GONE: Final = frozenset({"result.archived", "result.missing"})
"""A result of which this was said last does not need the file where it was."""


class Sharing:
    """Knows the results of a file, as of the newest event."""

    def __init__(self, log: EventLog, views: Views, wait: Callable[[int], bool]) -> None:
        """Make one; ``wait`` waits, for a bounded time, until the views have reached a position."""
        self._log = log
        self._views = views
        self._wait = wait

    def reach(self, position: int) -> None:
        """Wait until the views know what was recorded up to a position.

        Raises:
            NotReady: they are behind.

        """
        if not self._wait(position):
            raise NotReady(f"The views have not reached position {position}.")

    def is_needed(self, path: str, job: str, position: int) -> bool:
        """Return whether a result still needs a file of a job that was archived at a position.

        It is one of another job, or was recorded later.

        Raises:
            NotReady: the views are behind.

        """
        streams, as_of = self._views.results_at(path, RESULTS_MAX + 1)
        if as_of < position:
            raise NotReady(f"The views are at position {as_of} of {position}.")
        return len(streams) > RESULTS_MAX or any(
            self._needs(stream, path, job, position) for stream in streams
        )

    def _needs(self, stream: str, path: str, job: str, position: int) -> bool:
        named = there = False
        version = 0
        while page := self._log.read_stream(stream, after_version=version):
            for event in page:
                version = event.version
                if event.type == "result.recorded":
                    said = event.payload
                    other = said.get("job") != job or event.position > position
                    named = said.get("path") == path and other
                elif is_tombstone(event):
                    named = False
                there = event.type not in _GONE
        return named and there
