"""The bootstrap: makes every part of the daemon, and starts and stops them in order.

Start: lock the directory, bind the sockets, open the log and verify its tail, open the views, start
the writer, take requests, say READY; the projections catch up behind. Stop: refuse new events, end
the streams, answer what is at work, commit what is queued, checkpoint, let the lock go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import uvloop

from daemon import logs
from daemon.api.app import create_app
from daemon.api.context import Context
from daemon.api.direct import Direct
from daemon.archive.opening import open_archive
from daemon.background import Background
from daemon.backup.process import BackupProcess
from daemon.backup.starting import open_backup, record, recover
from daemon.config import Config
from daemon.descriptors import raise_descriptor_limit
from daemon.eventlog.log import EventLog
from daemon.lifecycle import Clock, settle_collector, system_clock
from daemon.listeners import Listeners, bind
from daemon.lock import DataDirectory
from daemon.notify import Notifier, inherited_sockets
from daemon.projector.messages import Settings
from daemon.projector.process import ProjectorProcess
from daemon.replay.history import History
from daemon.server import ClosedDoor, Server
from daemon.size.guard import DiskState, prepare
from daemon.size.words import readable
from domain.errors import (
    ChronicledError,
    DiskFull,
    LogDamaged,
    NewerSchema,
    NotReady,
    QueueFull,
    StorageFailed,
)
from projections.views import Views

STOP_SECONDS: Final = 40.0
"""After which a stop is given up and the process ends; what was acknowledged is on disk anyway."""

_REPORT_SECONDS: Final = 1.0
_EXTEND_SECONDS: Final = 5.0
_EXTENSIONS_MAX: Final = 17_280
"""A day: bringing back a large log from far away takes long."""
_RETRY_SECONDS_MAX: Final = 30.0
_BUSY_SECONDS: Final = 0.1
_PROJECTOR_SECONDS: Final = 5.0

T = TypeVar("T")
_logger = logging.getLogger(__name__)


def serve(config: Config, *, allow_empty: bool = False) -> int:
    """Run the daemon until it is told to stop; return the exit code of the process.

    With ``allow_empty`` it begins an empty log where the backup cannot be asked for one.
    """
    os.umask(0o077)
    raise_descriptor_limit()
    logs.configure(config.logging.level, config.logging.format)
    try:
        with DataDirectory.acquire(config.data) as directory:
            daemon = Daemon(config, directory, allow_empty=allow_empty)
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    return runner.run(daemon.run())
            finally:
                daemon.deadline.cancel()
    except ChronicledError as error:
        return _refuse(error, config)


def _refuse(error: ChronicledError, config: Config) -> int:
    """Log why the daemon cannot run and what helps; return the exit code."""
    hint = error.operator_hint
    if isinstance(error, LogDamaged) and not isinstance(error, NewerSchema):
        directory = shlex.quote(str(config.data))
        hint = f"Keep the files. What is damaged: chronicled verify --data {directory}"
        if config.backup.url:
            hint += f"; from the backup: mv {directory} {directory}.damaged, and start again"
    _logger.error(error.detail, extra={"code": error.code, "hint": hint})
    return error.exit_code


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that work on the data directory, wired together."""

    log: EventLog
    projector: ProjectorProcess
    views: Views
    context: Context
    history: History
    background: Background
    backup: BackupProcess | None
    stop_seconds: float
    """How long the backup may take at a stop."""

    @classmethod
    def open(
        cls,
        config: Config,
        directory: DataDirectory,
        clock: Clock,
        *,
        allow_empty: bool = False,
        tell: Callable[[str], None] = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Bring the log back where it is needed, open it and the views, and verify its tail.

        ``tell`` hears what takes long, which ends early when ``stopping`` says so.

        Raises:
            RestoreRefused: the log and its backup do not fit each other.
            LogDamaged: the log does not hold what it held.
            StorageFailed, DiskFull: the disk refuses.

        """
        with contextlib.ExitStack() as undo:
            prepare(directory.path, config.size)
            if backup := open_backup(config, [directory.descriptor]):
                undo.callback(backup.close)
                recover(backup, allow_empty, tell, stopping)
            log = EventLog.open(
                directory.log_path,
                clock=clock,
                synchronous=config.log.synchronous,
                bounds=config.bounds,
            )
            undo.callback(log.close)
            directory.claim_log()
            log.verify_tail()
            projector = _projector(config, directory)
            undo.callback(projector.close)
            projector.start()
            views = Views(
                directory.views_path,
                timeout_seconds=config.server.read_timeout_seconds,
                on_damage=projector.distrust,
                on_missing=projector.wake,
                log=log,
            )
            undo.callback(views.close)
            history = History.open(config, directory, log, projector)
            undo.callback(history.close)
            context = Context(
                log=log,
                views=views,
                runner=projector,
                limits=config.limits,
                clock=clock,
                names=(config.address.host,),
                read_threads=config.server.read_threads,
                read_seconds_max=config.server.read_timeout_seconds,
                stream_clients_max=config.server.streams,
                moments=history.moments,
                history=history,
                backup=backup,
                archive=open_archive(config, log, views, projector, backup),
                size=config.size,
            )
            undo.callback(context.close)
            background = Background.open(config, context)
            undo.pop_all()
        log.on_commit(lambda _: projector.wake())
        stop_seconds = config.backup.stop_seconds
        return cls(log, projector, views, context, history, background, backup, stop_seconds)

    def start(self) -> None:
        """Start the writer, what looks into the past, and the backup."""
        self.log.start()
        self.history.start()
        self.background.start()
        if self.backup is not None:
            self.backup.run(self._copy, partial(record, self.log))

    def close(self) -> None:
        """Commit what is queued, stop the projections at the end of a batch, close every file.

        What the backup does not have yet it gets then, within its time.
        """
        self.background.close()
        self.context.close()
        self.history.close()
        self.views.close()
        self.projector.close()
        self.log.close()
        if self.backup is not None:
            self.backup.close(self.stop_seconds)

    def _copy(self, path: Path) -> None:
        self.log.copy_to(path)


class Daemon:
    """One daemon's life, from its locked directory to its end."""

    def __init__(
        self,
        config: Config,
        directory: DataDirectory,
        *,
        allow_empty: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        self._config = config
        self._directory = directory
        self._allow_empty = allow_empty
        self._clock = clock
        self._notifier = Notifier()
        self._stopping = asyncio.Event()
        self._server: Server | None = None
        backup_seconds = config.backup.stop_seconds if config.backup.url else 0.0
        self.deadline = threading.Timer(STOP_SECONDS + backup_seconds, _give_up)
        """Runs from the beginning of a stop, which is bounded, whatever hangs."""
        self.deadline.daemon = True

    async def run(self) -> int:
        """Start, serve until a signal comes, stop; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        listeners = bind(self._config.address, self._config.server.socket, inherited_sockets())
        try:
            parts = await self._open(listeners)
            if parts is None:
                return 0
            return await self._serve(parts, listeners)
        finally:
            listeners.close()

    def _signalled(self) -> None:
        if self._stopping.is_set() and self._server is not None:
            _logger.warning("signalled again: requests at work are cut off")
            self._server.force_exit = True
        self._stopping.set()
        self._set_deadline()

    def _set_deadline(self) -> None:
        if self.deadline.ident is None:
            self.deadline.start()

    # -- start ----------------------------------------------------------------------------------

    async def _open(self, listeners: Listeners) -> Parts | None:
        """Open the parts; while the disk refuses, answer "not ready" and try again.

        Returns None when the daemon was told to stop before.
        """
        retry_seconds = 1.0
        closed, door = ClosedDoor(), None
        try:
            while not self._stopping.is_set():
                self._notifier.status("opening the log")
                try:
                    parts = await self._patiently(
                        asyncio.to_thread(
                            Parts.open,
                            self._config,
                            self._directory,
                            self._clock,
                            allow_empty=self._allow_empty,
                            tell=self._notifier.status,
                            stopping=self._stopping.is_set,
                        )
                    )
                except NotReady:
                    if not self._stopping.is_set():
                        raise
                except (StorageFailed, DiskFull) as error:
                    _logger.warning(
                        "the log cannot be opened; it is tried again",
                        extra={"error": error.detail, "seconds": retry_seconds},
                    )
                    self._notifier.status(f"waiting for the disk: {error.detail}")
                    closed.reason = NotReady(
                        f"The daemon cannot open its log: {error.detail}", hint=error.operator_hint
                    )
                    if door is None:
                        door = Server(closed, [bound.dup() for bound in listeners.sockets])
                    with contextlib.suppress(TimeoutError):
                        await self._patiently(
                            asyncio.wait_for(self._stopping.wait(), retry_seconds)
                        )
                    retry_seconds = min(retry_seconds * 2, _RETRY_SECONDS_MAX)
                else:
                    return parts
            return None
        finally:
            if door is not None:
                await door.stop()

    async def _patiently(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for slow work, and ask the service manager for more time meanwhile; bounded."""
        task = asyncio.ensure_future(work)
        for _ in range(_EXTENSIONS_MAX):
            done, _pending = await asyncio.wait({task}, timeout=_EXTEND_SECONDS)
            if done:
                break
            self._notifier.extend_timeout(3 * _EXTEND_SECONDS)
        return await task

    async def _serve(self, parts: Parts, listeners: Listeners) -> int:
        """Serve until the daemon is told to stop, or a part of it ends that should not."""
        tasks: set[asyncio.Task[Any]] = set()
        try:
            parts.start()
            self._notifier.status("waiting for the writer")
            await self._patiently(self._writer_answers(parts.log))
            app = create_app(parts.context)
            settle_collector()
            # It has loaded its modules meanwhile.
            await asyncio.to_thread(parts.projector.opened, _PROJECTOR_SECONDS)
            # Whoever is answered finds the daemon by its lock file; who comes early waits.
            self._directory.announce(
                url=listeners.url, socket=str(listeners.path), started=self._clock()
            )
            self._server = Server(
                app,
                listeners.sockets,
                Direct(parts.context, app),
                request_seconds=self._config.server.request_timeout_seconds,
            )
            await self._server.listening()
            self._opened(parts, listeners)
            tasks = {
                asyncio.create_task(self._stopping.wait()),
                asyncio.create_task(self._report(parts)),
            }
            if self._notifier.watchdog_seconds is not None:
                period = self._notifier.watchdog_seconds / 2
                tasks.add(asyncio.create_task(self._watch_writer(parts.log, period)))
            ended, _ = await asyncio.wait(
                {self._server.task, *tasks}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in ended:
                task.result()
        finally:
            await self._stop(parts, tasks)
        return 0 if self._stopping.is_set() else 1

    def _opened(self, parts: Parts, listeners: Listeners) -> None:
        self._notifier.ready(_status(parts))
        _logger.info(
            "ready",
            extra={
                "url": listeners.url,
                "socket": str(listeners.path),
                "data": str(self._directory.path),
                "position": parts.log.head(),
            },
        )

    # -- while it runs --------------------------------------------------------------------------

    async def _report(self, parts: Parts) -> None:
        """Tell the service manager how the daemon stands, whenever that changes."""
        said = ""
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            status = _status(parts)
            if status != said:
                self._notifier.status(status)
                said = status

    async def _watch_writer(self, log: EventLog, period_seconds: float) -> None:
        """Answer the watchdog for as long as the writer gets through transactions."""
        while True:
            await self._writer_answers(log)
            self._notifier.alive()
            await asyncio.sleep(period_seconds)

    async def _writer_answers(self, log: EventLog) -> None:
        """Return when the writer has gone through a transaction."""
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def done() -> None:
            loop.call_soon_threadsafe(answered.set)

        position = log.head()
        while True:
            try:
                log.ping(done)
            except QueueFull:
                # No room to ask; but a writer whose head moves is at work.
                await asyncio.sleep(_BUSY_SECONDS)
                if log.head() > position:
                    return
            else:
                await answered.wait()
                return

    # -- stop -----------------------------------------------------------------------------------

    async def _stop(self, parts: Parts, tasks: set[asyncio.Task[Any]]) -> None:
        _logger.info("stopping")
        self._set_deadline()
        self._notifier.stopping()
        for task in tasks:
            task.cancel()
        parts.context.drain()
        if parts.backup is not None:
            parts.backup.drain()
        if self._server is not None:
            await self._server.stop()
        await asyncio.to_thread(parts.close)
        _logger.info("stopped", extra={"position": parts.log.head()})


def _projector(config: Config, directory: DataDirectory) -> ProjectorProcess:
    settings = Settings(
        log=str(directory.log_path),
        views=str(directory.views_path),
        batch_events=config.views.batch_events,
        synchronous=config.views.synchronous,
        level=config.logging.level,
        style=config.logging.format,
    )
    return ProjectorProcess(settings, inherited=[directory.descriptor])


def _status(parts: Parts) -> str:
    """Return in one line how the daemon stands."""
    health = parts.log.health
    if not health.ok:
        return f"refusing events: {health.error}"
    if reason := parts.context.gate.reason:
        return f"refusing events: {reason}"
    statuses = parts.projector.status()
    failed = [each.name for each in statuses if each.state == "failed"]
    if failed:
        return f"ready; failed projections: {', '.join(failed)}"
    if not parts.projector.caught_up:
        position = min((each.built or each.position for each in statuses), default=0)
        return f"ready; projections at {position} of {parts.log.head()}"
    built = [each for each in statuses if each.state == "rebuilding"]
    if built:
        position = min(each.built or 0 for each in built)
        names = ", ".join(each.name for each in built)
        return f"ready; rebuilding {names}: at {position} of {parts.log.head()}"
    if (disk := parts.context.sizes.guarded_disk()) and disk.state is DiskState.LOW:
        return f"ready; the disk is low: {readable(disk.free)} left"
    return "ready"


def _give_up() -> None:
    _logger.error("the stop took too long and is given up")
    os._exit(1)
