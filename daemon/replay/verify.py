"""Proof that the log is whole and that the views are what a replay of it gives.

The log is verified first (chain, gaps, keys). Then its events are replayed into a file of their
own, up to where the live tables are, and compared with a copy of the live file, table by table,
both ways. All of it goes on beside a running daemon: the copy is one snapshot, and the log is read
in pages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import apsw

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Finding
from daemon.replay.folding import FoldingChildren
from daemon.replay.upto import LogUpto
from projections import store as storage
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.seam import ProjectionStatus
from projections.store import Generation

VIEWS: Final = "views"
"""The kind of the findings that are about the views; the others are about the log."""

Progress = Callable[[int, int], None]
"""Called with what is done so far and what there is."""


@dataclass
class Report:
    """What a verification found; ``events`` were replayed, ``position`` is the head of the log."""

    position: int
    events: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as it was recorded."""
        return not self.findings


def verify(log: EventLog, views_path: Path, *, progress: Progress | None = None) -> Report:
    """Verify a log and its views; a log that is damaged is not replayed."""
    report = Report(log.head())
    halves = _Halves(progress)
    report.findings += log.verify(progress=halves.first)
    if report.ok:
        report.findings += _verify_views(log, views_path, report, halves.second)
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


def _verify_views(
    log: EventLog, views_path: Path, report: Report, progress: Progress
) -> list[Finding]:
    if not views_path.exists():
        return [_finding("the views are not there; they are built at the next start")]
    with _folder(views_path.with_name("verify")) as folder:
        copy_path, replay_path = folder / "copy.db", folder / "replay.db"
        try:
            _copy(views_path, copy_path)
            with closing(apsw.Connection(str(copy_path))) as copy:
                damage = _damage(copy)
                if damage:
                    return damage
                upto = LogUpto(log)
                findings = _compare_all(copy, upto, replay_path, Path(log.path), progress)
                report.events = upto.events
                # Beside a daemon at work the views are newer than the head at the beginning.
                report.position = max(report.position, upto.end)
                return findings
        except storage.DAMAGED as error:
            return [_finding(f"SQLite reports damage in the views: {error}")]
        except storage.STORAGE as error:
            raise storage.translate(error) from error


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Lend an empty folder beside the views, where there is room for files of their size."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _copy(source_path: Path, target_path: Path) -> None:
    """Copy a database as it is at one moment, whoever writes it."""
    flags = apsw.SQLITE_OPEN_READONLY
    with (
        closing(apsw.Connection(str(source_path), flags=flags)) as source,
        closing(apsw.Connection(str(target_path))) as target,
    ):
        source.set_busy_timeout(storage.BUSY_TIMEOUT_MS)
        with target.backup("main", source, "main") as backup:
            backup.step(-1)


def _damage(copy: apsw.Connection) -> list[Finding]:
    if copy.pragma("application_id") != storage.APPLICATION_ID:
        return [_finding("the file is not a views file")]
    if copy.pragma("user_version") != storage.SCHEMA_VERSION:
        return [_finding("the views have the schema of another version of this program")]
    rows = copy.execute("PRAGMA integrity_check(10)")
    return [_finding(str(row[0])) for row in rows if row[0] != "ok"]


def _compare_all(
    copy: apsw.Connection, upto: LogUpto, replay_path: Path, log_path: Path, progress: Progress
) -> list[Finding]:
    meta = storage.read_meta(copy)
    if (meta.get("log_id"), meta.get("epoch")) != (upto.log_id, upto.epoch):
        return [_finding("the views are of another log, or of another epoch of it")]
    generations = storage.list_generations(copy)
    findings: list[Finding] = []
    for status in storage.statuses(PROJECTIONS, generations, meta.get("head", 0)):
        findings += _standing(status)
    live = [each for each in generations if each.live and _fits(each)]
    with closing(_replay(replay_path, upto, log_path)) as runner:
        copy.execute("ATTACH ? AS replay", (str(replay_path),))
        for position in sorted({each.position for each in live}):
            if upto.log.digest_at(position) != _digest(live, position):
                findings.append(_finding(f"the log has another event at {position}", position))
                continue
            upto.end = position
            runner.catch_up(lambda done, _: progress(done, max(upto.log.head(), done)))
            tables = [f"entities WHERE entity <= {position:d}"]
            for each in live:
                tables += each.tables.split() if each.position == position else []
            for table in tables:
                findings += _compare(copy, table, position)
        findings += [
            _finding(f"{each.name} fails in the replay: {each.error}", each.failed_position)
            for each in runner.status()
            if each.error and not any(old.name == each.name and old.error for old in live)
        ]
    return findings


def _replay(path: Path, upto: LogUpto, log_path: Path) -> ProjectionRunner:
    helpers = partial(FoldingChildren.start, log_path)
    return ProjectionRunner(path, upto, synchronous="OFF", helpers=helpers)


def _fits(generation: Generation) -> bool:
    return any(
        (each.name, each.version) == (generation.name, generation.version) for each in PROJECTIONS
    )


def _digest(live: Sequence[Generation], position: int) -> bytes | None:
    return next(each.digest for each in live if each.position == position)


def _standing(status: ProjectionStatus) -> Iterator[Finding]:
    """Yield why a projection cannot be compared, or not up to the head."""
    if status.error is not None:
        detail = f"{status.name} failed: {status.error}"
        yield _finding(detail, status.failed_position)
    elif status.state == "building":
        yield _finding(f"{status.name} is not built yet", status.built)
    elif status.state == "failed":
        yield _finding(f"{status.name} is of version {status.version} and has to be rebuilt")


def _compare(copy: apsw.Connection, table: str, position: int) -> Iterator[Finding]:
    """Yield how a table differs from the replay's: rows too many, and rows that are missing."""
    name, _, condition = table.partition(" WHERE ")
    key, columns = _columns(copy, name)
    # A full-text table finds a rowid by "=" only; the key is never NULL.
    same = " AND ".join(
        f'there."{column}" {"=" if column in key else "IS"} here."{column}"' for column in columns
    )
    shown_key = ", ".join(f'here."{column}"' for column in key)
    for one, other, what in (("main", "replay", "are not"), ("replay", "main", "are only")):
        sql = (
            f"SELECT {shown_key} FROM {one}.{name} AS here "
            f"WHERE NOT EXISTS (SELECT 1 FROM {other}.{name} AS there WHERE {same})"
            + (f" AND {condition}" if condition else "")
        )
        sample, count = None, 0
        for row in copy.execute(sql):
            sample = row if sample is None else sample
            count += 1
        if sample is not None:
            shown = ", ".join(
                f"{column} {value!r}" for column, value in zip(key, sample, strict=True)
            )
            yield _finding(f"{name}: {count} rows {what} in the replay, such as {shown}", position)


def _columns(copy: apsw.Connection, table: str) -> tuple[list[str], list[str]]:
    """Return the columns of a table's key, and all of them."""
    rows: Any = copy.execute(
        "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid", (table,)
    ).fetchall()
    key = [name for name, place in sorted(rows, key=lambda row: row[1]) if place]
    columns = [name for name, _ in rows]
    # A full-text table has no key but its rowid.
    return (key, columns) if key else (["rowid"], ["rowid", *columns])


def _finding(detail: str, position: int | None = None) -> Finding:
    return Finding(VIEWS, detail, position)
