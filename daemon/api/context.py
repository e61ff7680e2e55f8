"""What the routes work with: the parts of one daemon, and what the routes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

from fastapi import Depends
from starlette.requests import Request

from daemon.api.bodies import BUDGET_BATCHES, BodyBudget
from daemon.api.operations import Operations
from daemon.api.shared import Shared
from daemon.api.signals import Signal
from daemon.api.sse import CLIENTS_MAX, HEARTBEAT_SECONDS, Clients
from daemon.api.threads import Threads
from daemon.api.writing import Appends
from daemon.archive.reading import ArchiveReader
from daemon.backup.metrics import BackupCollector
from daemon.backup.status import Backup, BackupStatus
from daemon.decoder.process import Decoders
from daemon.emptying import Syncing
from daemon.lifecycle import Clock, system_clock
from daemon.metrics import Metrics, StateCollector
from daemon.settings import SizeSettings
from daemon.size.board import SizeBoard
from daemon.size.gate import Gate
from daemon.size.measure import Files
from daemon.size.metrics import SizeCollector
from domain.limits import Limits

if TYPE_CHECKING:
    from daemon.archive.opening import Archive
    from daemon.eventlog.log import EventLog
    from daemon.eventlog.truncation import Truncation
    from daemon.maintenance.scheduler import Scheduler
    from daemon.redaction.cleansing import Cleansing
    from daemon.replay.history import History
    from daemon.replay.moments import Moments
    from daemon.retention.retention import Retention
    from daemon.sources.board import SourceBoard
    from daemon.webhooks.webhook import Webhook
    from daemon.workflows.follower import Follower
    from projections.progress import Projector
    from projections.views import Views

StreamPage = tuple[bytes, int | None, int]
"""The next frames of a stream, where to go on (None = at the end), and the head."""

STREAM_SPACING_SECONDS: Final = 0.0002
"""For each open stream: how long at least lies between two looks at the log. A thousand take a
tenth of the loop's time, and hear of an event after a fifth of a second at the latest.
"""

READ_THREADS: Final = 4
READ_SECONDS_MAX: Final = 10.0
_DECODE_THREADS: Final = 2
_STREAM_THREADS: Final = 2
_STORE_THREADS: Final = 1


@dataclass(eq=False)
class Context:
    """One daemon as its HTTP interface sees it; made by the bootstrap, closed by it."""

    log: EventLog
    views: Views
    runner: Projector
    limits: Limits = field(default_factory=Limits)
    clock: Clock = system_clock
    names: tuple[str, ...] = ()
    """Names beside the loopback ones that a Host header may have: the host listened on."""
    read_threads: int = READ_THREADS
    read_seconds_max: float = READ_SECONDS_MAX
    stream_clients_max: int = CLIENTS_MAX
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    moments: Moments | None = None
    """The views as of other positions; None where every answer is as of now."""
    history: History | None = None
    """What looks into the past, and what it keeps for that; None where nothing is kept."""
    backup: Backup | None = None
    """What ships the log to a store; None where no backup is configured."""
    archive: Archive | None = None
    """Who archives jobs and brings them back; None where no archive is configured."""
    archived: ArchiveReader | None = None
    """Who reads archived jobs; without a value the archive's own."""
    sources: Sequence[SourceBoard] = ()
    """How each source of the configuration stands; set when the sources are made."""
    webhooks: dict[str, Webhook] = field(default_factory=dict)
    """The webhooks of the configuration, by name."""
    follower: Follower | None = None
    """Who follows workflows; set when the services are made, None where there are none."""
    retention: Retention | None = None
    """What is due, and applying it; None where there is only the past."""
    maintenance: Scheduler | None = None
    """Who runs the housekeeping; set when the services are made, None where there are none."""
    size: SizeSettings = field(default_factory=lambda: SizeSettings.model_validate({}))
    gate: Gate = field(default_factory=Gate)
    """What new events pass; shut while the disk has too little room."""
    redaction: Cleansing | None = None
    """Who takes values out of events; set when the services are made."""
    truncation: Truncation | None = None
    """Who removes events from the log; set when the services are made."""
    readonly: bool = False
    """Whether this is a moment of the past, to which nothing can be added."""
    draining: bool = field(default=False, init=False)
    """Whether the daemon is stopping: no more intake, and streams end. Set by `drain`."""

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.clock)
        self.files = {"log": Path(self.log.path), "views": self.views.path}
        self.sync_views = Syncing(self.views.path)
        self.metrics.registry.register(
            StateCollector(self.log, self.views, self.runner, self.files, self.gate)
        )
        self.metrics.registry.register(BackupCollector(self.log, self.backup_status, self.clock))
        self.sizes = SizeBoard(Files(**self.files), self.size, self.clock)
        self.metrics.registry.register(SizeCollector(self.sizes, self.gate))
        self.appends = Appends(self.log, self.metrics)
        self.readers = Threads("read", self.read_threads)
        self.decoders = Decoders(self.limits, Threads("decode", _DECODE_THREADS))
        # Each open stream waits for one read at a time, and their number is bounded. Those that are
        # about to be open are not: they must not take the places of those that are.
        self.stream_readers = Threads("stream", _STREAM_THREADS, 2 * self.stream_clients_max)
        self.stream_openers = Threads("stream-open", 1, 2 * self.stream_clients_max)
        self.stream_pages: Shared[StreamPage] = Shared(self.stream_readers)
        # Of its own: a store that does not answer must not hold up any other question.
        self.store_readers = Threads("store", _STORE_THREADS)
        self.bodies = BodyBudget(BUDGET_BATCHES * self.limits.batch_bytes)
        self.clients = Clients(self.stream_clients_max)
        self.operations = Operations(self.clock)
        self.committed = Signal(STREAM_SPACING_SECONDS)
        self.projected, self.stopping = Signal(), Signal()
        self.replayed = Signal()
        if self.moments is not None:
            self.moments.on_change(self.replayed.fire)
        self._leave = [
            self.log.on_commit(self.committed.fire),
            self.runner.on_progress(self.projected.fire),
        ]
        self.log.writer.observe_groups(self.metrics.committed)

    def archive_reader(self) -> ArchiveReader:
        """Return who reads archived jobs; where there is no archive, it says so."""
        if self.archived is None:
            own = None if self.archive is None else self.archive.reader
            self.archived = own or ArchiveReader(self.log, None)
        return self.archived

    def backup_status(self) -> BackupStatus:
        """Return how the backup stands, also where there is none."""
        return BackupStatus() if self.backup is None else self.backup.status()

    def drain(self) -> None:
        """Take no more events, and end every open stream; from any thread."""
        self.draining = True
        self.operations.stop()
        self.sizes.stop()
        self.stopping.fire()

    def close(self) -> None:
        """End the threads; call it when the server has ended."""
        self.drain()
        for leave in self._leave:
            leave()
        self.operations.close()
        for threads in (
            *(self.readers, self.decoders, self.stream_readers),
            *(self.stream_openers, self.store_readers),
        ):
            threads.close()
        self.sync_views.close()


def context_of(request: Request) -> Context:
    """Return the context of the app that serves a request."""
    return cast("Context", request.app.state.context)


async def _context(request: Request) -> Context:
    return context_of(request)


InContext = Annotated[Context, Depends(_context)]
"""The context as a parameter of a route."""
