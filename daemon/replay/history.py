"""What looks into the past for a daemon: moments on demand, and checkpoints in the background."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from daemon.lifecycle import ServiceThread, system_clock
from daemon.replay.checkpoints import Checkpoints
from daemon.replay.keeper import CheckpointKeeper
from daemon.replay.limits import Bounds, MomentBounds
from daemon.replay.moments import Build, Moments
from daemon.replay.process import ReplayProcesses
from daemon.replay.replay import Base, Progress, replay
from daemon.replay.tasks import Task
from projections.seam import Feed
from projections.views import Views

if TYPE_CHECKING:
    from daemon.config import Config
    from daemon.eventlog.log import EventLog
    from daemon.lock import DataDirectory
    from projections.progress import Projector


class History:
    """The moments and checkpoints of one daemon, and the threads and processes that make them."""

    def __init__(
        self,
        moments: Moments,
        checkpoints: Checkpoints,
        keeper: CheckpointKeeper,
        processes: ReplayProcesses,
    ) -> None:
        self.moments = moments
        self._checkpoints = checkpoints
        self._keeper = keeper
        self._processes = processes
        self._threads = [ServiceThread(each, system_clock) for each in (moments, keeper)]

    @classmethod
    def open(
        cls, config: Config, directory: DataDirectory, log: EventLog, projector: Projector
    ) -> History:
        """Make the parts; `start` has them work."""
        bounds = config.checkpoints
        processes = ReplayProcesses([directory.descriptor])
        checkpoints = Checkpoints(directory.path, log, bounds)
        timeout_seconds = config.server.read_timeout_seconds
        moments = Moments(
            directory.path,
            directory.views_path,
            build_in_process(processes, directory.path, bounds, config, log),
            lambda path: Views(path, timeout_seconds=timeout_seconds),
            config.moments,
        )
        shutil.rmtree(moments.folder, ignore_errors=True)
        keeper = CheckpointKeeper(directory.path, checkpoints, projector, processes.perform)
        return cls(moments, checkpoints, keeper, processes)

    def start(self) -> None:
        """Start working."""
        for thread in self._threads:
            thread.start()

    def forget(self) -> None:
        """Throw away every checkpoint and every moment, as something in them has to be forgotten.

        What is built afterwards is built from the log and from the live views as they are now.

        Raises:
            StorageFailed: the disk refuses.

        """
        # What is at work is ended, and begins anew.
        self.moments.forget()
        with self._processes.held():
            self._checkpoints.forget()
            self.moments.forget()

    def close(self) -> None:
        """End the processes and threads, and remove the moments."""
        self._processes.close()
        for thread in self._threads:
            thread.stop()
        self._keeper.close()
        self.moments.close()


def build_in_process(
    processes: ReplayProcesses, data: Path, bounds: Bounds, config: Config, log: EventLog
) -> Build:
    """Return how moments are built beside intake: in a process of their own."""

    def build(position: int, path: Path, bases: Sequence[Base], progress: Progress) -> None:
        task = Task(
            "moment",
            str(data),
            position=position,
            target=str(path),
            bases=tuple((base.position, str(base.path)) for base in bases),
            checkpoints=bounds,
            # What it builds is nothing to tell about, unless everything is.
            level="debug" if config.logging.level == "debug" else "warning",
            style=config.logging.format,
        )
        with log.keeping("a replay"):
            processes.perform(task, progress)

    return build


def build_here(log: Feed, checkpoints: Checkpoints | None) -> Build:
    """Return how moments are built where there is nobody to disturb: on the caller's thread."""

    def build(position: int, path: Path, bases: Sequence[Base], progress: Progress) -> None:
        replay(log, path, position, checkpoints=checkpoints, bases=bases, progress=progress)

    return build


@contextmanager
def moments_at_rest(log: Feed, views: Path, checkpoints: Checkpoints | None) -> Iterator[Moments]:
    """Lend the moments of a log that nobody writes; they are built outside of its directory."""
    with TemporaryDirectory(prefix="chronicled-") as scratch:
        build = build_here(log, checkpoints)
        moments = Moments(Path(scratch), views, build, Views, MomentBounds())
        thread = ServiceThread(moments, system_clock)
        thread.start()
        try:
            yield moments
        finally:
            thread.stop()
            moments.close()
