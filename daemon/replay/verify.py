"""Proof that the log is whole and that the views are what a replay of it gives.

The log is verified first. Then its events are replayed into a file of their own, up to where the
live tables are, and compared with a copy of the live file, table by table. All of it goes on beside
a running daemon: the copy is one snapshot, and the log is read in pages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import apsw

from daemon.eventlog.findings import UNREADABLE, raise_unless_damage, told
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.proof import prove_log
from daemon.eventlog.requests import Finding
from daemon.replay.checkpoints import copy_views
from daemon.replay.folding import FoldingChildren
from daemon.replay.tables import compare, schema_differences
from daemon.replay.upto import LogUpto
from projections import store as storage
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.seam import ProjectionStatus
from projections.store import Generation
from projections.whole import StartFolding

VIEWS: Final = "views"
"""The kind of the findings that are about the views; the others are about the log."""
FOLDER: Final = "verify"
"""The folder beside the views for what a verification writes."""
_DAMAGE_MAX: Final = 100

Progress = Callable[[int, int], None]
"""Called with what is done so far and what there is."""


@dataclass
class Report:
    """What a verification found; ``events`` were verified, ``position`` is the head of the log."""

    position: int
    events: int = 0
    quick: bool = False
    projections: list[dict[str, Any]] = field(default_factory=list)
    dead_letters: tuple[int, int] = (0, 0)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as it was recorded."""
        return not self.findings

    def document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        letters, count = self.dead_letters
        return {
            "ok": self.ok,
            "position": self.position,
            "events": self.events,
            "quick": self.quick,
            "projections": self.projections,
            "dead_letters": {"letters": letters, "count": count},
            "findings": [asdict(finding) for finding in self.findings],
        }


def verify(
    log_path: Path,
    views_path: Path,
    *,
    quick: bool = False,
    at_rest: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Verify the files of a log and its views; a log that is damaged is not replayed.

    ``at_rest``: nobody writes them.
    """
    halves = _Halves(progress)
    try:
        proof = prove_log(log_path, quick=quick, at_rest=at_rest, progress=halves.first)
    except apsw.Error as error:
        raise storage.translate(error) from error
    report = Report(proof.position, proof.events, quick, [], proof.dead_letters, proof.findings)
    if report.ok:
        with closing(LogFile(log_path)) as log:
            _verify_views(log, views_path, report, halves.second)
    return report


class _Halves:
    """Shows two passes over the log as one."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def first(self, done: int, total: int) -> None:
        """Show the first pass."""
        if self._progress is not None:
            self._progress(done, 2 * total)

    def second(self, done: int, total: int) -> None:
        """Show the second pass."""
        if self._progress is not None:
            self._progress(total + done, 2 * total)


def _verify_views(log: LogFile, views_path: Path, report: Report, progress: Progress) -> None:
    if not views_path.exists():
        report.findings.append(
            _finding("the views are not there; they are built at the next start")
        )
        return
    try:
        if report.quick:
            flags = apsw.SQLITE_OPEN_READONLY
            with closing(apsw.Connection(str(views_path), flags=flags)) as views:
                views.set_busy_timeout(storage.BUSY_TIMEOUT_MS)
                _ViewsProof(views, LogUpto(log), report, progress).quickly()
            return
        with _folder(views_path.with_name(FOLDER)) as folder:
            copy_views(views_path, folder / "copy.db")
            with closing(apsw.Connection(str(folder / "copy.db"))) as copy:
                _ViewsProof(copy, LogUpto(log), report, progress).run(
                    folder / "replay.db", partial(FoldingChildren.start, Path(log.path))
                )
    except UNREADABLE as error:
        raise_unless_damage(error)
        if isinstance(error, (apsw.FullError, apsw.CantOpenError, apsw.IOError)):
            raise storage.translate(error) from error
        report.findings.append(_finding(f"damage in the views: they cannot be read: {told(error)}"))


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Lend an empty folder beside the views, where there is room for files of their size."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class _ViewsProof:
    """Holds the views against the log."""

    def __init__(
        self, copy: apsw.Connection, upto: LogUpto, report: Report, progress: Progress
    ) -> None:
        self._copy = copy
        self._upto = upto
        self._report = report
        self._progress = progress

    def quickly(self) -> None:
        """Compare where the projections stand with the log, and nothing of their rows."""
        for each in self._stands():
            fits = self._fits_log(each)
            self._tell(each, None, None, fits)

    def run(self, replay_path: Path, folding: StartFolding) -> None:
        """Compare every row with a replay."""
        rows = self._copy.execute(f"PRAGMA integrity_check({_DAMAGE_MAX:d})")
        for line in "\n".join(str(row[0]) for row in rows).splitlines():
            if line != "ok" and not line.startswith("*** in database"):
                self._find(line)
        live = self._stands()
        standing = {each.name: each for each in live if self._fits_log(each)}
        self._find_strays(live, list(standing.values()))
        with (
            closing(
                ProjectionRunner(replay_path, self._upto, synchronous="OFF", folding=folding)
            ) as runner,
            closing(apsw.Connection(str(replay_path))) as replay,
        ):
            head = self._upto.log.head()
            for position in sorted({each.position for each in standing.values()}):
                self._upto.end = position
                runner.catch_up(lambda done, _: self._progress(done, max(head, done)))
                self._compare_at(position, live, standing, replay)
            if standing:
                for difference in schema_differences(self._copy, replay):
                    self._find(difference)
            for status in runner.status():
                if status.error and not any(
                    each.name == status.name and each.error for each in live
                ):
                    self._find(
                        f"{status.name} fails in the replay: {status.error}",
                        status.failed_position,
                    )
        # Beside a daemon at work the views are newer than the head at the beginning.
        self._report.position = max(self._report.position, self._upto.end)

    def _find_strays(self, live: list[Generation], standing: list[Generation]) -> None:
        """Find numbers of streams that begin after everything the views know."""
        builds = any(not each.live for each in storage.list_generations(self._copy))
        if not standing or len(standing) < len(live) or builds:
            # A build may be further on than what it will take the place of.
            return
        newest = max(each.position for each in standing)
        sql = "SELECT count(*), min(entity) FROM entities WHERE entity > ?"
        count, first = self._copy.execute(sql, (newest,)).fetchone() or (0, None)
        if count:
            self._find(f"entities: {count} rows are beyond position {newest}, first: {first}")

    def _stands(self) -> list[Generation]:
        """Return the live tables that can be compared; the others are findings."""
        if self._copy.pragma("application_id") != storage.APPLICATION_ID:
            self._find("the file is not a views file")
            return []
        if self._copy.pragma("user_version") != storage.SCHEMA_VERSION:
            self._find("the views have the schema of another version of this program")
            return []
        if (why := storage.misfit(self._copy, self._upto)) is not None:
            self._find(why)
            return []
        generations = storage.list_generations(self._copy)
        head = self._upto.log.head()
        for status in storage.statuses(PROJECTIONS, generations, head):
            for finding in _standing(status):
                self._report.findings.append(finding)
        versions = {(each.name, each.version) for each in PROJECTIONS}
        return [each for each in generations if each.live and (each.name, each.version) in versions]

    def _fits_log(self, each: Generation) -> bool:
        """Whether a projection stands at an event that the log has."""
        if not isinstance(each.position, int) or each.position > self._upto.log.head():
            self._find(f"{each.name} stands at {each.position}, beyond the head of the log")
            return False
        if self._upto.log.digest_at(each.position) != each.digest:
            self._find(f"{each.name}: the log has another event at {each.position}", each.position)
            return False
        return True

    def _compare_at(
        self,
        position: int,
        live: list[Generation],
        standing: dict[str, Generation],
        replay: apsw.Connection,
    ) -> None:
        """Compare the projections that stand at a position with the replay up to it."""
        built = {each.name: each for each in storage.list_generations(replay) if each.live}
        self._table("entities", position, replay, upto=position)
        for each in live:
            if standing.get(each.name) is not each or each.position != position:
                continue
            wanted = built.get(each.name)
            if wanted is None:
                self._find(f"{each.name} is not built by the replay", position)
                continue
            if (each.tables, each.recordedtime) != (wanted.tables, wanted.recordedtime):
                self._find(f"{each.name}: what is registered of its tables differs", position)
            rows, hashes, ok = 0, [], True
            for table in wanted.tables.split():
                seen = self._table(table, position, replay)
                ok &= seen is not None and not seen[2]
                rows += seen[0] if seen else 0
                hashes.append(seen[1] if seen else "")
            self._tell(each, rows, _joined(hashes), ok)

    def _table(
        self, table: str, position: int, replay: apsw.Connection, upto: int | None = None
    ) -> tuple[int, str, int] | None:
        """Compare one table; return its rows, their digest and how many differ."""
        try:
            seen = compare(self._copy, replay, table, upto)
        except UNREADABLE as error:
            raise_unless_damage(error)
            self._find(f"{table}: it cannot be read: {told(error)}", position)
            return None
        if seen.differing:
            self._find(
                f"{table}: {seen.differing} rows differ from the replay, first: {seen.first}",
                position,
            )
        return seen.rows, seen.hash.hexdigest(), seen.differing

    def _tell(self, each: Generation, rows: int | None, digest: str | None, ok: bool) -> None:
        ok = ok and each.error is None
        self._report.projections.append(
            {
                "name": each.name,
                "position": each.position,
                "rows": rows,
                "digest": digest,
                "ok": ok,
            }
        )

    def _find(self, detail: str, position: int | None = None) -> None:
        self._report.findings.append(_finding(detail, position))


def _joined(hashes: list[str]) -> str:
    return blake2b("".join(hashes).encode(), digest_size=16).hexdigest()


def _standing(status: ProjectionStatus) -> Iterator[Finding]:
    """Yield why a projection cannot be compared, or not up to the head."""
    if status.error is not None:
        detail = f"{status.name} failed: {status.error}"
        yield _finding(detail, status.failed_position)
    elif status.state == "building":
        yield _finding(f"{status.name} is not built yet", status.built)
    elif status.state == "failed":
        yield _finding(f"{status.name} is of version {status.version} and has to be rebuilt")


def _finding(detail: str, position: int | None = None) -> Finding:
    return Finding(VIEWS, detail, position)
