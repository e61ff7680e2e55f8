"""The list of the housekeeping's tasks, and when each of them is due."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.backup.pace import Pace
from daemon.lifecycle import Service
from daemon.maintenance.checkpoints import CheckpointsTask
from daemon.maintenance.results import ResultCheck
from daemon.maintenance.scheduler import Entry, Scheduler
from daemon.maintenance.scrub import Progress, ScrubTask
from daemon.maintenance.services import WOKEN, SnapshotsTask, WokenTask
from daemon.maintenance.task import MaintenanceTask
from daemon.maintenance.vacuum import VacuumTask
from daemon.replay.checkpoints import Checkpoints
from daemon.replay.verifier import verify_apart
from daemon.schedule import OFF, Schedule

if TYPE_CHECKING:
    from daemon.api.context import Context
    from daemon.config import Config


def open_maintenance(
    config: Config,
    context: Context,
    services: Sequence[Service],
    more: Sequence[MaintenanceTask],
    stopping: threading.Event,
) -> Scheduler:
    """Make the scheduler of a daemon.

    Those of ``services`` that `WOKEN` names are listed too. ``more`` are tasks that other parts
    bring; ``[maintenance]`` has a setting of the name of each. They are made with ``stopping``,
    which is set when the daemon stops.
    """
    settings = config.maintenance
    entries = [
        Entry(task, Schedule.parse(getattr(settings, task.name)))
        for task in (*more, *_own(config, context, stopping))
    ]
    entries += _elsewhere(config, context, services, stopping)
    return Scheduler(
        context.log, entries, jitter_seconds=settings.jitter_seconds, stopping=stopping
    )


def _own(config: Config, context: Context, stopping: threading.Event) -> Iterator[MaintenanceTask]:
    settings, log = config.maintenance, context.log
    results = None
    if config.retention.files_root:
        results = ResultCheck(
            log,
            Path(config.retention.files_root),
            settings.result_bytes,
            partial(Pace, settings.bytes_per_second, stopping),
            stopping.is_set,
        )
    yield ScrubTask(partial(_verify, context), results, stopping.is_set)
    yield VacuumTask(log, stopping)
    checkpoints = Checkpoints(context.files["log"].parent, log, config.checkpoints)
    yield CheckpointsTask(context.files, checkpoints, log.head)


def _elsewhere(
    config: Config, context: Context, services: Sequence[Service], stopping: threading.Event
) -> Iterator[Entry]:
    """Yield what others do by themselves: it is never due here, so that nothing is done twice."""
    never = Schedule.parse(OFF)
    if context.backup is not None:
        snapshots = SnapshotsTask(context.backup, stopping.is_set)
        yield Entry(snapshots, never, f"{config.backup.snapshot} (by the backup)")
    for service in services:
        if service.name in WOKEN:
            task = WokenTask(service, WOKEN[service.name])
            yield Entry(task, never, "all the time (by itself)")


def _verify(context: Context, progress: Progress) -> dict[str, Any]:
    with context.log.keeping("a verification"):
        return verify_apart(context.files["log"], context.files["views"], False, progress)
