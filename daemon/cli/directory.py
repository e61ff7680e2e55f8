"""A data directory at rest: what a command can do where no daemon runs.

Questions go through the same routes that a daemon answers, in this process and without a socket,
so that filters, answers and errors are the same; they write nothing. Maintenance takes the
directory's lock, as a daemon would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

import httpx
import orjson

from daemon.api.app import create_app
from daemon.api.context import Context
from daemon.archive.checking import check_all
from daemon.archive.opening import open_reader, open_restorer, reader_at_rest
from daemon.cli.connection import Params
from daemon.cli.failures import CommandError
from daemon.cli.log_files import require_log
from daemon.cli.progress import OnProgress
from daemon.config import load
from daemon.eventlog.log import EventLog
from daemon.lifecycle import settle_collector, system_clock
from daemon.lock import VIEWS_FILE, DataDirectory
from daemon.replay.checkpoints import Checkpoints
from daemon.replay.folding import FoldingChildren
from daemon.replay.history import moments_at_rest
from daemon.replay.limits import Bounds
from daemon.replay.resting import RestingLog, RestingProjector
from daemon.replay.verify import verify
from daemon.retention.recording import recorded_policies
from daemon.retention.retention import Retention, RetentionLog
from daemon.settings import SizeSettings
from daemon.size.board import SizeBoard
from daemon.size.measure import Files
from domain.errors import NotReady
from projections.runner import ProjectionRunner
from projections.views import Views

BASE: Final = "http://localhost"


class DirectoryReader:
    """Answers GET requests from the files of a data directory."""

    def __init__(self, data: Path) -> None:
        self._stack = ExitStack()
        log = RestingLog(require_log(data))
        self._stack.callback(log.close)
        views = Views(data / VIEWS_FILE, log=log)
        self._stack.callback(views.close)
        checkpoints = Checkpoints(data, log, Bounds())
        moments = self._stack.enter_context(moments_at_rest(log, views.path, checkpoints))
        context = Context(
            log=cast("EventLog", log),
            views=views,
            runner=RestingProjector(views),
            moments=moments,
            archived=reader_at_rest(data, log),
        )
        self._stack.callback(context.close)
        context.retention = Retention(cast("RetentionLog", log), views, recorded_policies(log))
        self._runner = self._stack.enter_context(asyncio.Runner())
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(context)), base_url=BASE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._stack.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        """Return the decoded JSON of the answer; a problem is raised as `CommandError`."""
        response = self._runner.run(self._client.get(path, params=params))
        if response.is_error:
            failure = CommandError.of_answer(response)
            if failure.code == NotReady.code:
                failure.hint = "`chronicled rebuild` builds the views from the log."
            raise failure
        return orjson.loads(response.content)


@contextmanager
def _locked_log(data: Path) -> Iterator[tuple[EventLog, DataDirectory]]:
    require_log(data)
    with (
        DataDirectory.acquire(data) as directory,
        closing(EventLog.open(directory.log_path)) as log,
    ):
        yield log, directory


def verify_files(data: Path, quick: bool, on_progress: OnProgress) -> dict[str, Any]:
    """Verify the log and the views of a directory, under its lock; the log is only read."""
    require_log(data)
    with DataDirectory.acquire(data) as directory:
        settle_collector()
        report = verify(
            directory.log_path,
            directory.views_path,
            quick=quick,
            at_rest=True,
            progress=on_progress,
        )
    return report.document()


def restore_archived(
    data: Path,
    file: Path | None,
    job: str,
    reason: str | None,
    actor: str | None,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Bring a job of the archive back, under the directory's lock."""
    config = load(data=data, file=file)
    with _locked_log(data) as (log, _):
        restorer = open_restorer(config, log)
        log.start()
        return restorer.restore(job, reason, actor, on_progress)


def verify_archive(data: Path, file: Path | None, on_progress: OnProgress) -> dict[str, Any]:
    """Read every object of the archive; the log is only read."""
    config = load(data=data, file=file)
    with closing(RestingLog(require_log(data))) as log:
        return check_all(open_reader(config, log), on_progress)


def measure_files(data: Path, on_progress: OnProgress) -> None:
    """Measure what the tables of a directory take, under its lock; the databases are only read."""
    path = require_log(data)
    with DataDirectory.acquire(data) as directory:
        files = Files(path, directory.views_path)
        settings = SizeSettings.model_validate({})
        SizeBoard(files, settings, system_clock).measure(on_progress)


def rebuild_files(data: Path, name: str | None, on_progress: OnProgress) -> dict[str, Any]:
    """Build one projection, or all, again from the log of a directory, under its lock."""
    with (
        _locked_log(data) as (log, directory),
        closing(
            ProjectionRunner(
                directory.views_path,
                log,
                folding=partial(FoldingChildren.start, directory.log_path),
            )
        ) as runner,
    ):
        settle_collector()
        runner.request_rebuild(name)
        while runner.step(0) is not None:
            built = [each.built for each in runner.status() if each.built is not None]
            on_progress(min(built, default=log.head()), log.head())
        wanted = [each for each in runner.status() if name in (None, each.name)]
    for status in wanted:
        if status.state == "failed":
            raise CommandError("The projection failed", f"{status.name}: {status.error}")
    return {"ok": True, "projections": [status.name for status in wanted]}
