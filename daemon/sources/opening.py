"""Makes the sources that the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from daemon.lifecycle import Service
from daemon.sources.board import SourceBoard, SourceCollector
from daemon.sources.file import FileSource
from daemon.sources.folder import FolderSource
from daemon.sources.nats import NatsSource
from daemon.sources.recording import Recording
from daemon.sources.settings import SourceSettings

if TYPE_CHECKING:
    from daemon.api.context import Context


class Source(Service, Protocol):
    """A service that holds something open until its end."""

    def close(self) -> None:
        """Close it, when no step runs any more."""
        ...


_KINDS: Final[Mapping[str, Callable[[Recording], Source]]] = {
    "file": FileSource,
    "folder": FolderSource,
    "nats": NatsSource,
}


def open_sources(settings: Sequence[SourceSettings], context: Context) -> list[Source]:
    """Return a service for each source, and have the context show how they stand."""
    boards = [SourceBoard(each) for each in settings]
    context.sources = boards
    if boards:
        context.metrics.registry.register(SourceCollector(boards))
    return [_source(board, context) for board in boards]


def _source(board: SourceBoard, context: Context) -> Source:
    recording = Recording(board, context.log, context.limits, context.metrics, context.gate)
    return _KINDS[board.settings.kind](recording)
