"""What a daemon does by itself: it reads sources, follows workflows, tells receivers, keeps house.

Each part is a list of services, which are driven one step after another, each on a thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon.archive.metrics import ArchiveCollector
from daemon.backup.status import State
from daemon.eventlog.truncation import Bound, Truncation
from daemon.eventlog.truncation_metrics import TruncationCollector
from daemon.lifecycle import Service, ServiceThread
from daemon.maintenance.metrics import MaintenanceCollector
from daemon.maintenance.opening import open_maintenance
from daemon.maintenance.task import MaintenanceTask
from daemon.redaction.cleansing import Cleansing
from daemon.replay.forgetting import Forgetting
from daemon.retention.recording import PolicyRecorder, started_by
from daemon.retention.retention import Retention
from daemon.retention.summarising import WAIT_SECONDS, Summarising
from daemon.retention.task import RetentionTask
from daemon.size.guard import DiskGuard
from daemon.size.task import SizeTask
from daemon.size.watch import SizeWatch
from daemon.sources.opening import Source, open_sources
from daemon.webhooks.metrics import WebhookCollector
from daemon.webhooks.settings import read_secret
from daemon.webhooks.webhook import Webhook
from daemon.workflows.follower import Follower
from daemon.workflows.limits import OverdueLimits
from daemon.workflows.loader import Loader
from daemon.workflows.metrics import FollowerCollector
from daemon.workflows.overdue import Overdue
from domain.policies import parse_age

if TYPE_CHECKING:
    from daemon.api.context import Context
    from daemon.config import Config

STOP_SECONDS: Final = 10.0
"""How long the services may take together to end the step that each of them is in."""


class Background:
    """The services of one daemon, from the start of its writer to its stop."""

    def __init__(
        self, services: Sequence[Service], closing: Sequence[Source | Webhook], context: Context
    ) -> None:
        self._threads = [ServiceThread(service, context.clock) for service in services]
        self._closing = {service.name: service for service in closing}
        self._maintenance = context.maintenance
        self._clock = context.clock

    @classmethod
    def open(cls, config: Config, context: Context) -> Background:
        """Make the services that the configuration asks for; `start` has them work."""
        sources = open_sources(config.sources, context)
        webhooks = list(_webhooks(config, context))
        size = _size(config, context)
        workflows = list(_workflows(config, context))
        context.redaction = Cleansing(context)
        removing = [
            _truncation(context),
            *_retention(config, context),
            context.redaction,
            *_archive(context),
        ]
        house = _maintenance(config, context, [*workflows, *removing])
        services = [size, *sources, *workflows, *webhooks, *removing, *house]
        return cls(services, [*sources, *webhooks], context)

    def start(self) -> None:
        """Start every service."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End every service after the step it is in; before the log is closed.

        One that still waits for an answer of somebody else ends with the process.
        """
        if self._maintenance is not None:
            self._maintenance.stop()
        for thread in self._threads:
            thread.stop(0)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            ended = thread.stop(max(0.0, deadline - time.monotonic()))
            if ended and thread.service.name in self._closing:
                self._closing[thread.service.name].close()
        if self._maintenance is not None:
            self._maintenance.close(self._clock())


def _size(config: Config, context: Context) -> Service:
    """Return who watches the room, which is looked at once before any event is taken."""
    guard = DiskGuard(config.data, config.size, context.gate)
    guard.look(context.log.health, context.clock())
    return SizeWatch(context.log, guard, context.sizes)


def _webhooks(config: Config, context: Context) -> Iterator[Webhook]:
    context.metrics.registry.register(WebhookCollector(context.webhooks))
    for settings in config.webhooks:
        webhook = Webhook(settings, read_secret(settings, os.environ), context.log)
        context.webhooks[settings.name] = webhook
        yield webhook


def _workflows(config: Config, context: Context) -> Iterator[Service]:
    """Yield who loads workflows, who follows them, and who sees that an attempt is overdue."""
    settings = config.workflows
    if settings.path:
        root = Path(settings.path).absolute()
        yield Loader(context.log, root, settings.refresh_seconds, context.limits)
    overdue = OverdueLimits.parse(settings.overdue, settings.overdue_for)
    if overdue.active:
        yield Overdue(context.log, context.views, overdue, context.limits)
    follower = Follower(context.log, context.views, settings.child_seconds)
    context.follower = follower
    context.metrics.registry.register(FollowerCollector(follower))
    context.log.on_commit(lambda _: follower.woken.set())
    context.runner.on_progress(follower.woken.set)
    yield follower


def _archive(context: Context) -> Iterator[Service]:
    """Yield who ends what was begun in the archive."""
    if context.archive is not None:
        context.metrics.registry.register(ArchiveCollector(context.archive.service))
        yield context.archive.service


def _retention(config: Config, context: Context) -> Iterator[Service]:
    """Make what says what is due; yield who records policies, and who forgets what is purged."""
    settings, policies = config.retention, config.retention.policy_set()
    context.retention = Retention(
        context.log,
        context.views,
        policies,
        batch=settings.batch,
        run_max=settings.run_max,
        applies=settings.apply,
        archiver=None if context.archive is None else context.archive.archiver,
        stopping=lambda: context.draining,
        pause=threading.Event().wait,
        wake=lambda: None if context.truncation is None else context.truncation.woken.set(),
    )
    said = [f"{key}: {config.origin[f'retention.{key}']}" for key in ("policies", "preset")]
    if context.history is not None:
        views, forget = context.files["views"], context.history.forget
        yield Forgetting(config.data, views, context.log, forget, lambda: context.draining)
    yield PolicyRecorder(context.log, policies, started_by(), "; ".join(said))


def _maintenance(
    config: Config, context: Context, services: Sequence[Service]
) -> Iterator[Service]:
    """Yield who decides what is to be done in the house, and who does it.

    ``services`` are those that are listed although they work all the time.
    """
    stopping = threading.Event()
    more: list[MaintenanceTask] = [SizeTask(context.sizes)]
    if context.retention is not None:
        summarising = _summarising(config, context, context.retention)
        more.append(RetentionTask(context.retention, summarising))
    scheduler = open_maintenance(config, context, services, more, stopping)
    context.maintenance = scheduler
    context.metrics.registry.register(MaintenanceCollector(scheduler))
    yield from (scheduler, scheduler.worker)


def _summarising(config: Config, context: Context, retention: Retention) -> Summarising:
    """Return who forgets the purges that are older than the configuration has them remembered."""
    return Summarising(
        context.log,
        context.views,
        parse_age(config.retention.tombstones),
        alone=retention.alone,
        wait=lambda position: context.runner.wait_for(position, WAIT_SECONDS),
        bound=lambda: _removable(context),
    )


def _truncation(context: Context) -> Truncation:
    truncation = Truncation(context.log, lambda: _removable(context))
    context.truncation = truncation
    context.metrics.registry.register(TruncationCollector(truncation))
    return truncation


def _removable(context: Context) -> Bound:
    """Return up to where the log may lose rows: what every projection has passed, and the backup.

    A projection that is being built, or has failed, may still have to read them; and so may one
    that has passed them, if a power cut sets its tables back: they are synced first.
    """
    statuses = context.runner.status()
    unfit = [each for each in statuses if each.state != "live"]
    if unfit or not statuses:
        name = f"the projection {unfit[0].name}" if unfit else "the projections"
        return Bound(0, f"{name} has not read all of the log")
    if (refused := context.sync_views()) is not None:
        return Bound(0, f"the views are not synced: {refused}")
    passed = Bound(min(each.position for each in statuses) + 1, "the projections are behind")
    backup = context.backup_status()
    if backup.state is not State.OFF and backup.shipped < passed.position:
        return Bound(backup.shipped, "the backup does not have the events yet")
    return passed
