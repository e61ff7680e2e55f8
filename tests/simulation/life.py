"""One life of a daemon, from its start to its end, on one thread and under a clock of its own.

These are the daemon's own parts, wired as its bootstrap does it. What runs there on threads and in
processes is driven here a step at a time by whoever holds the life: the writer, the projections,
every background service, the backup, and the event loop of the HTTP interface. Where one of them
waits for another, the other is driven meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

import apsw
import uvicorn
from faults import Faults
from place import Bucket
from uvicorn.server import ServerState

import daemon.archive.opening
import daemon.maintenance.opening
import daemon.projector.rebuilding
from daemon.api.app import create_app
from daemon.api.context import Context
from daemon.api.direct import Direct
from daemon.api.edge import Edge
from daemon.api.shared import Shared
from daemon.api.threads import Threads
from daemon.archive.opening import open_archive
from daemon.background import Background
from daemon.backup.board import Board
from daemon.backup.recovery import Recovery
from daemon.backup.settings import Settings
from daemon.backup.starting import record
from daemon.backup.status import BackupStatus, Kind, Progress, State
from daemon.backup.worker import Asked, Worker
from daemon.backup.workshop import Workshop, mark_of, writer_of
from daemon.config import Config
from daemon.emptying import make_durable
from daemon.eventlog.checkpointer import Checkpointer
from daemon.eventlog.copying import Copy, Copying
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Outcome, Request
from daemon.lifecycle import Service
from daemon.lock import LOG_FILE, VIEWS_FILE
from daemon.protocol import Protocol
from daemon.replay.verify import verify
from daemon.schedule import Schedule
from domain.errors import ChronicledError, NotReady, StorageFailed
from projections.runner import ProjectionRunner
from projections.views import Views

STEPS_MAX: Final = 100_000
"""So many steps one part may wait for another; more is a hang."""


class Hang(AssertionError):
    """Something waits for what does not come."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop that has the simulation's time, and never waits."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        super().__init__()

    def time(self) -> float:
        """Return the time (seconds)."""
        return self._seconds()

    def pump(self) -> None:
        """Run until nothing is left to do now."""
        for _ in range(STEPS_MAX):
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:
                return
        raise Hang("the event loop does not come to rest")


class Log(EventLog):
    """The event log; its writer is driven by whoever waits for it."""

    now: Callable[[], int] = staticmethod(lambda: 0)

    def start(self) -> None:
        """Make who copies the write-ahead log, without a thread of its own."""
        self.writer.checkpointer = Checkpointer(self.path, self._vfs)

    def _wait(self, request: Request, timeout_seconds: float, room_seconds: float = 0.0) -> Outcome:
        outcomes: list[Outcome] = []
        while self.writer.queued_events and room_seconds:
            self.writer.step(self.now())
        self.writer.submit(request, outcomes.append)
        for _ in range(STEPS_MAX):
            self.writer.step(self.now())
            if outcomes:
                break
        else:
            raise Hang("the writer does not answer")
        if isinstance(outcomes[0], BaseException):
            raise outcomes[0]
        return outcomes[0]

    def copy_to(self, path: Path, **options: Any) -> Copy:
        """Copy the log, a step of the writer at a time."""
        with self._pool.connection() as db:
            size = db.pragma("page_count") * db.pragma("page_size")
        copying = Copying(path, size)
        self.writer.copy(copying)
        for _ in range(STEPS_MAX):
            if copying.ended.is_set():
                return copying.result(None)
            self.writer.step(self.now())
        raise Hang("the copy does not end")


class Runner(ProjectionRunner):
    """The projections; whoever waits for them drives them."""

    def wait_for(
        self, position: int, timeout_seconds: float, names: Iterable[str] | None = None
    ) -> bool:
        """Step until the tables know a position, or until nothing moves."""
        wanted = self._names if names is None else frozenset(names)
        with suppress(ChronicledError):
            while timeout_seconds and self._reached(position, wanted) is None:
                if self.step(0) is None:
                    break
        return self._reached(position, wanted) is True


class Inline:
    """Calls what would run on a thread at once (`daemon.api.threads.Threads`)."""

    async def run(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what a call returns."""
        return call(*args, **kwargs)

    def close(self) -> None:
        """There is nothing to close."""


class Decoders(Inline):
    """Decodes bodies at once (`daemon.decoder.process.Decoders`)."""

    pid = None


class Pause:
    """What waits while another part is to work: it drives that part instead."""

    def __init__(self, meanwhile: Callable[[float], None], faults: Faults) -> None:
        self._meanwhile = meanwhile
        self._faults = faults
        self._waits = 0

    def wait(self, seconds: float | None = None) -> bool:
        """Let the others do a step."""
        self._waits += 1
        if self._waits > STEPS_MAX:
            raise Hang("a service waits for ever")
        if self._faults.dead:
            raise StorageFailed("the process has ended")
        self._meanwhile(seconds or 0.0)
        return False

    def set(self) -> None:
        """Whoever waits looks for itself."""

    def clear(self) -> None:
        """Nothing was set."""


class BackupSeat:
    """The backup of a daemon, without a process of its own (`daemon.backup.status.Backup`)."""

    def __init__(self, life: Life, settings: Settings) -> None:
        self._life = life
        self._settings = settings
        self.stopping = threading.Event()
        status = BackupStatus(state=State.STARTING, url=settings.url)
        self.board = Board(status, life.clock, record=self._record)
        self.workshop: Workshop | None = None
        self.worker: Worker | None = None

    def open(self) -> list[Service]:
        """Make the parts when the log is open; return the services."""
        life, settings = self._life, self._settings
        self.workshop = Workshop(
            settings, life.place, life.writer, self.board,
            lambda path, _: life.log.copy_to(path) and None, self.stopping, life.clock,
        )  # fmt: skip
        self.workshop.clean()
        schedule = Schedule.parse(settings.snapshot)
        self.worker = Worker(
            self.workshop, self.board, schedule, prove=settings.prove, clock=life.clock
        )
        return [self.workshop.shipper, self.worker]

    def status(self) -> BackupStatus:
        """Return how it stands."""
        return self.board.status

    def perform(
        self, kind: Kind, arguments: Mapping[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """Do what is asked for."""
        if self.board.status.state is not State.SHIPPING or self.worker is None:
            raise NotReady("the backup does not ship")
        answers: list[dict[str, Any] | ChronicledError] = []
        self.worker.ask(Asked(kind, arguments, progress, answers.append))
        self.worker.step(self._life.clock())
        if isinstance(answers[0], ChronicledError):
            raise answers[0]
        return answers[0]

    def _record(self, type_: str, subject: str, payload: dict[str, Any]) -> None:
        # As in the daemon: what cannot be recorded is logged there, and not waited for.
        with suppress(ChronicledError):
            record(self._life.log, type_, subject, payload)

    def close(self) -> None:
        """Close the files."""
        self.stopping.set()
        if self.workshop is not None:
            self.workshop.close()


class Life:
    """A daemon at work on ``config.data``; ``bucket`` outlives it.

    ``clock`` gives microseconds; who waits lets so many seconds pass by ``pass_time``.
    """

    def __init__(
        self,
        config: Config,
        clock: Callable[[], int],
        bucket: Bucket,
        pass_time: Callable[[float], None],
    ) -> None:
        self.pass_time = pass_time
        self.config = config
        self.clock = clock
        self.bucket = bucket
        self.settings = Settings.of(config)
        self.place = bucket.place(config.backup.url)
        self._undo = ExitStack()
        try:
            self._open()
        except BaseException:
            self._undo.close()
            raise

    def _open(self) -> None:
        undo, config, clock = self._undo, self.config, self.clock
        data = config.data
        data.mkdir(mode=0o700, exist_ok=True)
        self.writer = writer_of(self.settings)
        mark = mark_of(self.settings, self.place)
        recovery = Recovery(data, self.place, self.writer, clock(), mark=mark)
        self.recovered = recovery.start(allow_empty=False)
        self.log = Log.open(
            data / LOG_FILE,
            clock=clock,
            synchronous=config.log.synchronous,
            bounds=config.bounds,
        )
        undo.callback(self.log.close)
        self.log.now = clock
        self.log.verify_tail()
        self.runner = Runner(
            data / VIEWS_FILE,
            self.log,
            batch_events=config.views.batch_events,
            make_durable=make_durable,
        )
        undo.callback(self.runner.close)
        with suppress(ChronicledError):
            self.runner.step(0)
        self.views = Views(
            data / VIEWS_FILE,
            timeout_seconds=60.0,
            on_damage=self.runner.distrust,
            on_missing=self.runner.wake,
            log=self.log,
        )
        undo.callback(self.views.close)
        self.backup = BackupSeat(self, self.settings)
        undo.callback(self.backup.close)
        self._patch("open_place", daemon.archive.opening, self._archive_place)
        self._patch("verify_apart", daemon.maintenance.opening, _verify_here)
        self.context = Context(
            log=self.log,
            views=self.views,
            runner=self.runner,
            limits=config.limits,
            clock=clock,
            backup=self.backup,
            archive=open_archive(config, self.log, self.views, self.runner, self.backup),
            size=config.size,
        )
        self._call_at_once()
        undo.callback(self.context.close)
        self.background = Background.open(config, self.context)
        self.log.on_commit(lambda _: self.runner.wake())
        self.log.start()
        undo.callback(self._close_checkpointer)
        self._bring_together()
        self.services = self._services()
        self.loop = Loop(time.monotonic)
        undo.callback(self._close_loop)
        asyncio.set_event_loop(None)
        self._http = self._make_http()

    def _patch(self, name: str, module: Any, value: Any) -> None:
        self._undo.enter_context(mock.patch.object(module, name, value))

    def _call_at_once(self) -> None:
        """Let nothing of the HTTP interface have a thread or a process of its own."""
        for name, value in vars(self.context).items():
            if isinstance(value, Threads):
                setattr(self.context, name, Inline())
        self.context.stream_pages = Shared(self.context.stream_readers)
        self.context.decoders = Decoders()

    def _archive_place(self, url: str, **_options: Any) -> Any:
        return self.bucket.place(url)

    def _bring_together(self) -> None:
        """Let those who wait for other parts drive them."""
        pause = Pause(self._meanwhile, self.bucket.faults)
        assert self.context.redaction is not None
        self.context.redaction._pause = pause
        events = SimpleNamespace(Event=lambda: pause)
        self._patch("threading", daemon.projector.rebuilding, events)
        assert self.context.retention is not None
        self.context.retention._pause = pause.wait
        assert self.context.maintenance is not None
        self.context.maintenance.worker._monotonic = time.monotonic

    def _meanwhile(self, seconds: float) -> None:
        self.pass_time(seconds)
        with suppress(ChronicledError):
            self.runner.step(self.clock())

    def _services(self) -> list[Service]:
        assert self.log.writer.checkpointer is not None
        own = [thread.service for thread in self.background._threads]
        first = [self.log.writer, self.runner, self.log.writer.checkpointer]
        return [*first, *own, *self.backup.open()]

    # -- http -----------------------------------------------------------------------------------

    def _make_http(self) -> Callable[[], Protocol]:
        app = _app_of(self.context)
        config = uvicorn.Config(
            app, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False,
        )  # fmt: skip
        config.load()
        state = ServerState()
        direct = Direct(self.context, app)
        return partial(Protocol, config, state, {}, self.loop, direct)

    def connect(self) -> Protocol:
        """Return the daemon's end of a new connection."""
        return self._http()

    def pump(self) -> None:
        """Let the event loop do what can be done now."""
        asyncio._set_running_loop(None)
        self.loop.pump()

    @property
    def idle(self) -> bool:
        """Whether the event loop is there, and does nothing just now."""
        return not (self.loop.is_running() or self.loop.is_closed())

    # -- its end --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Begin the end as the daemon does: take no more, end the streams, answer what is at work.

        What is not answered then is cut off by `stop`.
        """
        self.context.drain()
        for _ in range(20):
            self.log.writer.step(self.clock())
            self.pump()

    def stop(self) -> None:
        """End: commit what is queued, and close every file."""
        self.background.close()
        while self.log.writer.queued_events and self.log.health.ok:
            self.log.writer.step(self.clock())
        self._undo.close()

    def abandon(self) -> None:
        """Close every file of a process that has ended; its disk takes nothing any more."""
        with suppress(ChronicledError, apsw.Error, OSError):
            self._undo.close()

    def _close_checkpointer(self) -> None:
        if self.log.writer.checkpointer is not None:
            self.log.writer.checkpointer.close()

    def _close_loop(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.pump()
        self.loop.close()


class Present:
    """Stands for the context of the life that is at work: an application is made once, for all."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)


_APPS: Final[list[tuple[Present, Edge]]] = []


def _app_of(context: Context) -> Edge:
    if not _APPS:
        present = Present(context)
        app = create_app(present)
        app._observe = lambda *said: present.metrics.request(*said)
        _APPS.append((present, app))
    present, app = _APPS[0]
    present.context = context
    return app


def _verify_here(
    log: Path, views: Path, quick: bool, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    return verify(log, views, quick=quick, progress=progress).document()
