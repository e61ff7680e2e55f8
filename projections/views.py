"""What readers ask: every query runs in one read transaction and says which position it shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import apsw
import orjson

from domain.errors import NotReady, QueryTimeout, StorageFailed
from projections.aging import AgedPage, Place, list_aged, list_results
from projections.alerts import AlertFilter, find_alert, list_alerts
from projections.files import FileFilter, find_file, list_files
from projections.job_history import Earlier, list_chain, list_history, nothing_earlier
from projections.job_list import Document, JobFilter, find_job, list_jobs
from projections.paging import LIMIT_DEFAULT, LIMIT_MAX, Page
from projections.purged import Counted
from projections.queues import find_queue, ids_in_section, list_queues
from projections.registry import PROJECTIONS
from projections.relations import (
    Relations,
    find_correlated,
    find_effects,
    find_family,
    find_results,
    find_run,
)
from projections.runs import (
    RunJob,
    find_jobs,
    jobs_after,
    jobs_before,
    jobs_of_workflow,
    known_streams,
)
from projections.seam import Feed, ProjectionStatus
from projections.store import (
    BUSY_TIMEOUT_MS,
    DAMAGED,
    SCHEMA_VERSION,
    STORAGE,
    Generation,
    file_at,
    list_generations,
    misfit,
    read_meta,
    statuses,
)
from projections.summary import count_jobs, kept_counts, summarise
from projections.tasks import TaskFilter, list_tasks
from projections.ties import JOB, PATH
from projections.workflows import (
    WorkflowFilter,
    find_workflow,
    list_versions,
    list_workflows,
)

WORKFLOWS: Final = ("workflows",)
TIES: Final = ("jobs", "ties")
"""The projections that know which entities are tied."""

QUEUES: Final = ("jobs", "queues")
"""The projections that know queues and the jobs in them."""

QUERY_SECONDS: Final = 5.0
"""How long one query may take unless told otherwise."""

_DEADLINE_STEPS: Final = 20_000
"""How many steps of SQLite's machine pass between two looks at the clock."""
_IDLE_MAX: Final = 8
_ALL_JOBS, _ALL_ALERTS, _ALL_FILES = JobFilter(), AlertFilter(), FileFilter()
_ALL_TASKS, _ALL_WORKFLOWS = TaskFilter(), WorkflowFilter()

T = TypeVar("T")


class _Connection(NamedTuple):
    """A read-only connection, and which file it has open."""

    db: apsw.Connection
    file: tuple[int, int]


class Views:
    """Answers from ``views.db``; any number of threads may ask at once.

    Every method may raise `NotReady` (not built yet), `QueryTimeout` or `StorageFailed`. Answers
    hold times as RFC 3339 text; filters take them as microseconds. ``log`` is for who reads
    without a runner, which would not leave the views of another log there.
    """

    def __init__(
        self,
        path: Path,
        *,
        timeout_seconds: float = QUERY_SECONDS,
        on_damage: Callable[[], None] | None = None,
        on_missing: Callable[[], None] | None = None,
        log: Feed | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._timeout_seconds = timeout_seconds
        self._on_damage = on_damage
        self._on_missing = on_missing
        self._log = log
        self._monotonic = monotonic
        self._position: int | None = None
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def at(self, position: int) -> Views:
        """Return the same views for answers as of just this position; `NotReady` as of others."""
        there = copy(self)
        there._position = position  # noqa: SLF001  its own kind
        return there

    @property
    def position(self) -> int | None:
        """Which position answers have to be as of; None for the present one."""
        return self._position

    def list_jobs(
        self,
        wanted: JobFilter = _ALL_JOBS,
        sort: str = "-submitted",
        limit: int = LIMIT_DEFAULT,
        cursor: str | None = None,
        document: Document = orjson.loads,
    ) -> Page:
        """Return a page of jobs; see `projections.job_list.list_jobs`."""
        names = ("jobs",) if wanted.q is None else ("jobs", "search")
        (items, following), as_of = self._ask(
            names, lambda db: list_jobs(db, wanted, sort, limit, cursor, document)
        )
        return Page(items, following, as_of)

    def job(
        self, job_id: str, document: Document = orjson.loads
    ) -> tuple[dict[str, Any] | None, int]:
        """Return a job, None when it is not known, and the position this is as of."""
        return self._ask(("jobs",), lambda db: find_job(db, job_id, document))

    def history(
        self,
        job_id: str,
        attempts_all: bool = False,
        limit: int = LIMIT_MAX,
        cursor: str | None = None,
        earlier: Earlier = nothing_earlier,
    ) -> Page:
        """Return what happened to a job, or to the whole chain of attempts it belongs to.

        ``earlier`` knows what happened to a job before, and is not in the views any more.

        Raises:
            NotFound: there is no such job.

        """
        names = ("job_history", "jobs") if attempts_all else ("job_history",)
        (items, following), as_of = self._ask(
            names, lambda db: list_history(db, job_id, attempts_all, limit, cursor, earlier)
        )
        return Page(items, following, as_of)

    def chain(self, job_id: str) -> list[str]:
        """Return the ids of the whole chain of attempts that a job belongs to, in their order.

        Raises:
            NotFound: there is no such job.

        """
        return self._ask(("jobs",), lambda db: list_chain(db, job_id))[0]

    def list_alerts(
        self,
        wanted: AlertFilter = _ALL_ALERTS,
        limit: int = LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of alerts, the newest first."""
        (items, following), as_of = self._ask(
            ("alerts",), lambda db: list_alerts(db, wanted, limit, cursor)
        )
        return Page(items, following, as_of)

    def alert(self, alert_id: str) -> tuple[dict[str, Any] | None, int]:
        """Return an alert with its timeline, None when it is not known, and the position."""
        return self._ask(("alerts",), lambda db: find_alert(db, alert_id))

    def list_files(
        self,
        wanted: FileFilter = _ALL_FILES,
        limit: int = LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of messages about files; see `projections.files.list_files`."""
        (items, following), as_of = self._ask(
            ("files",), lambda db: list_files(db, wanted, limit, cursor)
        )
        return Page(items, following, as_of)

    def file(self, path: str) -> tuple[dict[str, Any] | None, int]:
        """Return the last that is known of a path, None when nothing is, and the position."""
        return self._ask(("files",), lambda db: find_file(db, path))

    def list_tasks(
        self, wanted: TaskFilter = _ALL_TASKS, limit: int = LIMIT_DEFAULT, cursor: str | None = None
    ) -> Page:
        """Return a page of tasks of flowlord, the newest first."""
        (items, following), as_of = self._ask(
            ("tasks", "jobs"), lambda db: list_tasks(db, wanted, limit, cursor)
        )
        return Page(items, following, as_of)

    def list_workflows(
        self,
        wanted: WorkflowFilter = _ALL_WORKFLOWS,
        limit: int = LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of workflow files, by path."""
        (items, following), as_of = self._ask(
            WORKFLOWS, lambda db: list_workflows(db, wanted, limit, cursor)
        )
        return Page(items, following, as_of)

    def workflow(self, path: str) -> tuple[dict[str, Any] | None, int]:
        """Return a workflow file, None where it was never loaded, and the position."""
        return self._ask(WORKFLOWS, lambda db: find_workflow(db, path))

    def list_workflow_versions(
        self, path: str, limit: int = LIMIT_DEFAULT, cursor: str | None = None
    ) -> Page:
        """Return a page of versions of a workflow file, the newest first.

        Raises:
            NotFound: it was never loaded.

        """
        (items, following), as_of = self._ask(
            WORKFLOWS, lambda db: list_versions(db, path, limit, cursor)
        )
        return Page(items, following, as_of)

    def queue(
        self, name: str, limit: int = LIMIT_DEFAULT, document: Document = orjson.loads
    ) -> tuple[dict[str, Any] | None, int]:
        """Return a queue with the jobs in it, None when it is not known, and the position."""
        return self._ask(QUEUES, lambda db: find_queue(db, name, limit, document))

    def list_queues(self, limit: int = LIMIT_DEFAULT, cursor: str | None = None) -> Page:
        """Return a page of queues, by name."""
        (items, following), as_of = self._ask(QUEUES, lambda db: list_queues(db, limit, cursor))
        return Page(items, following, as_of)

    def queued_ids(self, name: str, section: int, limit: int) -> tuple[list[str], int]:
        """Return the ids of the first jobs of a section of a queue, and the position."""
        return self._ask(QUEUES, lambda db: ids_in_section(db, name, section, limit))

    def summary(
        self, since: int | None = None, until: int | None = None, kind: str | None = None
    ) -> dict[str, Any]:
        """Return the summary of all time, or of the days between two times."""
        summary, as_of = self._ask(("summary",), lambda db: summarise(db, since, until, kind))
        return {"as_of": as_of, **summary}

    def job_counts(self) -> dict[str, int]:
        """Return how many jobs have each status."""
        return self._ask(("summary",), count_jobs)[0]

    def purged_sums(self, days: Iterable[int]) -> tuple[dict[Counted, int], int]:
        """Return what purges add to the counts of some days, and the position."""
        wanted = list(days)
        return self._ask(("summary",), lambda db: kept_counts(db, wanted))

    def family(self, stream: str) -> tuple[Relations | None, int]:
        """Return an entity with its family, None when it is not known, and the position."""
        return self._ask(TIES, lambda db: find_family(db, stream))

    def run(self, correlation: str) -> tuple[Relations, int]:
        """Return what has a correlation, with its families, and the position."""
        return self._ask(TIES, lambda db: find_run(db, correlation))

    def correlated(self, correlation: str) -> list[str]:
        """Return the streams of what has a correlation."""
        return self._ask(TIES, lambda db: find_correlated(db, correlation))[0]

    def results(self, job_id: str, limit: int) -> tuple[list[str], int]:
        """Return the streams of at most so many results that name a job, and the position."""
        return self._ask(TIES, lambda db: find_results(db, JOB, job_id, limit))

    def results_at(self, path: str, limit: int) -> tuple[list[str], int]:
        """Return the streams of at most so many results that were recorded at a path, likewise."""
        return self._ask(TIES, lambda db: find_results(db, PATH, path, limit))

    def effects(self, ids: Iterable[str]) -> list[tuple[str, str]]:
        """Return (event id, stream) of what names one of these events as its cause."""
        return self._ask(TIES, lambda db: find_effects(db, ids))[0]

    def flow_jobs(self, streams: Iterable[str]) -> tuple[dict[str, RunJob], int]:
        """Return those of some streams that are jobs of a workflow, and the position."""
        return self._ask(("jobs",), lambda db: find_jobs(db, streams))

    def jobs_before(self, run: str, workflow: str, until: int) -> list[RunJob]:
        """Return the jobs of a run and workflow submitted up to a time, the newest first."""
        return self._ask(("jobs",), lambda db: jobs_before(db, run, workflow, until))[0]

    def jobs_after(self, run: str, workflow: str, since: int) -> list[RunJob]:
        """Return the jobs of a run and workflow submitted since a time, the oldest first."""
        return self._ask(("jobs",), lambda db: jobs_after(db, run, workflow, since))[0]

    def jobs_of_workflow(
        self, workflow: str, before: int, after: tuple[int, int], limit: int
    ) -> tuple[list[RunJob], int]:
        """Return jobs of a workflow that began before a position, and the position shown."""
        return self._ask(("jobs",), lambda db: jobs_of_workflow(db, workflow, before, after, limit))

    def known_streams(self, streams: Iterable[str]) -> set[str]:
        """Return those of some streams that there are."""
        return self._ask(("jobs",), lambda db: known_streams(db, streams))[0]

    def aged(self, category: str, after: Place, until: int, limit: int) -> tuple[AgedPage, int]:
        """Return jobs, alerts or files that began up to a time, and the position."""
        return self._ask((f"{category}s",), lambda db: list_aged(db, category, after, until, limit))

    def results_naming(self, jobs: Iterable[str]) -> list[tuple[str, str]]:
        """Return (job, stream) of the results that name one of these jobs."""
        return self._ask(TIES, lambda db: list_results(db, jobs))[0]

    def status(self) -> list[ProjectionStatus]:
        """Return how each projection stands, as the file tells it."""

        def read(db: apsw.Connection) -> list[ProjectionStatus]:
            return statuses(PROJECTIONS, list_generations(db), read_meta(db).get("head", 0))

        return self._ask((), read)[0]

    def close(self) -> None:
        """Close the connections; one still at work is closed when it comes back."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.db.close()
            self._idle.clear()

    def _ask(self, names: tuple[str, ...], query: Callable[[apsw.Connection], T]) -> tuple[T, int]:
        """Run a query in a read transaction; also return the least position it reads from."""
        with self._snapshot() as db:
            try:
                generations = list_generations(db)
            except apsw.SQLError:
                # The runner has opened the file, and not yet written what is in each one.
                raise NotReady("the views are just being made") from None
            self._check_log(db)
            live = {each.name: each for each in generations if each.live}
            for name in names:
                if name not in live:
                    raise NotReady(_not_built(name, generations, read_meta(db).get("head", 0)))
                if self._position not in (None, live[name].position):
                    raise NotReady(f"{name} is as of position {live[name].position}")
            try:
                answer = query(db)
            except apsw.SQLError as error:
                # The tables of an older version need not have what this version asks for.
                if db.pragma("user_version") != SCHEMA_VERSION:
                    raise NotReady("the views are of another version of the program") from error
                for projection in PROJECTIONS:
                    each = live.get(projection.name)
                    if projection.name in names and each and each.version != projection.version:
                        raise NotReady(
                            f"{each.name} is being rebuilt for this version of the program"
                        ) from error
                raise
            return answer, min((live[name].position for name in names), default=0)

    def _check_log(self, db: apsw.Connection) -> None:
        if self._log is not None and (why := misfit(db, self._log)) is not None:
            raise NotReady(why)

    @contextmanager
    def _snapshot(self) -> Iterator[apsw.Connection]:
        connection = self._take()
        keep = False
        deadline = self._monotonic() + self._timeout_seconds
        try:
            connection.db.set_progress_handler(
                lambda: self._monotonic() > deadline, _DEADLINE_STEPS
            )
            connection.db.execute("BEGIN")
            yield connection.db
            keep = True
        except apsw.InterruptError as error:
            keep = True
            raise QueryTimeout(f"the query took longer than {self._timeout_seconds:g} s") from error
        except DAMAGED as error:
            if self._on_damage is not None:
                self._on_damage()
            raise NotReady("the views are damaged, and are built afresh") from error
        except STORAGE as error:
            raise StorageFailed(f"the views could not be read: {error}") from error
        except Exception:
            keep = True
            raise
        finally:
            self._give_back(connection, keep)

    def _take(self) -> _Connection:
        file = file_at(self.path)
        if file is None:
            if self._on_missing is not None:
                self._on_missing()
            raise NotReady("the views are not there yet")
        with self._lock:
            if self._closed:
                raise NotReady("the views are closed")
            while self._idle:
                connection = self._idle.pop()
                if connection.file == file:
                    return connection
                # The runner has put this file aside and made another.
                connection.db.close()
        try:
            db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.Error as error:
            raise StorageFailed(f"the views cannot be opened: {error}") from error
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        return _Connection(db, file)

    def _give_back(self, connection: _Connection, keep: bool) -> None:
        db = connection.db
        db.set_progress_handler(None)
        with suppress(apsw.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        # A statement that is still open keeps its snapshot: the next query would see the past.
        keep = keep and db.txn_state() == apsw.SQLITE_TXN_NONE
        with self._lock:
            if keep and not self._closed and len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
                return
        db.close()


def _not_built(name: str, generations: list[Generation], head: int) -> str:
    """Say how far the first build of a projection is."""
    for build in generations:
        if build.name == name and build.error:
            return f"{name} failed at position {build.failed_position}: {build.error}"
        if build.name == name:
            return f"{name} is being built: at position {build.position} of {head}"
    return f"{name} is not built yet"
