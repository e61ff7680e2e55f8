"""A data directory at rest: what a command can do where no daemon runs.

Questions go through the same routes that a daemon answers, in this process and without a socket,
so that filters, answers and errors are the same; they write nothing. Maintenance takes the
directory's lock, as a daemon would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

import httpx
import orjson

from daemon.api.app import create_app
from daemon.api.context import Context
from daemon.cli.connection import Params
from daemon.cli.failures import CommandError
from daemon.cli.progress import OnProgress
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.requests import LogHealth, WriterBounds
from daemon.lifecycle import settle_collector
from daemon.lock import LOG_FILE, VIEWS_FILE, DataDirectory
from daemon.replay.folding import FoldingChildren
from daemon.replay.verify import verify
from projections.runner import ProjectionRunner
from projections.views import Views

BASE: Final = "http://localhost"

_NOT_READY: Final = 503


def require_log(data: Path) -> Path:
    """Return the log file of a data directory.

    Raises:
        CommandError: there is none.

    """
    path = data / LOG_FILE
    if not path.exists():
        raise CommandError(
            "No event log",
            f"{data} holds none, and no daemon runs on it",
            hint="Name the data directory by --data, or a daemon by --socket or --url.",
        )
    return path


class RestingLog(LogFile):
    """A log to which nothing is appended and from which nothing comes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.health = LogHealth()
        self.writer = self
        self.bounds = WriterBounds()
        self.queued_events = 0

    def on_commit(self, _callback: Callable[[int], None]) -> Callable[[], None]:
        """Accept who wants to know of commits; there are none."""
        return lambda: None

    def on_group_end(self, _callback: Callable[[], None]) -> None:
        """Accept who wants to know when groups end; there are none."""

    def observe_groups(self, _observer: Callable[..., None]) -> None:
        """Accept who wants to measure commits; there are none."""


class RestingRunner:
    """Stands for the runner where nothing brings the views on."""

    def __init__(self, views: Views) -> None:
        self.status = views.status

    def on_progress(self, _callback: Callable[[], None]) -> Callable[[], None]:
        """Accept who wants to know of progress; there is none."""
        return lambda: None


class DirectoryReader:
    """Answers GET requests from the files of a data directory."""

    def __init__(self, data: Path) -> None:
        self._log = RestingLog(require_log(data))
        self._views = Views(data / VIEWS_FILE, log=(self._log.log_id, self._log.epoch))
        self._context = Context(
            log=cast("EventLog", self._log),
            views=self._views,
            runner=cast("ProjectionRunner", RestingRunner(self._views)),
        )
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(self._context)), base_url=BASE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
        self._context.close()
        self._views.close()
        self._log.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        """Return the decoded JSON of the answer; a problem is raised as `CommandError`."""
        response = self._runner.run(self._client.get(path, params=params))
        if response.is_error:
            failure = CommandError.of_answer(response)
            if failure.status == _NOT_READY:
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


def verify_files(data: Path, on_progress: OnProgress) -> dict[str, Any]:
    """Verify the log and the views of a directory, under its lock."""
    with _locked_log(data) as (log, directory):
        report = verify(log, directory.views_path, progress=on_progress)
    return {
        "ok": report.ok,
        "position": report.position,
        "events": report.events,
        "findings": [asdict(finding) for finding in report.findings],
    }


def rebuild_files(data: Path, name: str | None, on_progress: OnProgress) -> dict[str, Any]:
    """Build one projection, or all, again from the log of a directory, under its lock."""
    with (
        _locked_log(data) as (log, directory),
        closing(
            ProjectionRunner(
                directory.views_path,
                log,
                helpers=partial(FoldingChildren.start, directory.log_path),
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
