"""What is to be reached, and whether this run reached it: everything computed from its figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.suite import Figures

LARGE = 1_000
"""From here on people want no decimals."""
SINGLES = "intake/tcp singles events/s"
BATCHES = "intake/tcp batches events/s"
SEQUENTIAL = "intake/tcp sequential events/s"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure, or on its ratio to another of the same round.

    ``figure`` is a pattern; where several figures match, the worst counts. Exactly one of
    ``least`` and ``most`` is given.
    """

    text: str
    figure: str
    over: str | None = None
    least: float | None = None
    most: float | None = None

    @property
    def bound(self) -> str:
        """The bound as people write it."""
        number = self.least if self.most is None else self.most
        return f"{'at least' if self.most is None else 'at most'} {number:,.10g}"

    def met(self, value: float) -> bool:
        """Whether a measured value keeps the bound."""
        return value >= self.least if self.least is not None else value <= (self.most or 0.0)

    def measured(self, rounds: Sequence[Figures]) -> tuple[str, float] | None:
        """Return the figure that counts and its median; None where it was not measured."""
        pattern = re.compile(self.figure)
        names = {name for figures in rounds for name in figures if pattern.fullmatch(name)}
        found = []
        for name in sorted(names):
            values = self._values(name, rounds)
            if values:
                found.append((name, median(values)))
        if not found:
            return None
        worst = max if self.most is not None else min
        return worst(found, key=lambda each: each[1])

    def _values(self, name: str, rounds: Sequence[Figures]) -> list[float]:
        if self.over is None:
            return [figures[name] for figures in rounds if name in figures]
        first = [figures[self.over] for figures in rounds if self.over in figures]
        # What is measured once in a run is compared with every round.
        return [
            figures[name] / (figures.get(self.over) or median(first))
            for figures in rounds
            if name in figures and first
        ]


def _exact(name: str) -> str:
    return re.escape(name)


def _ratio(text: str, name: str, over: str, least: float) -> Target:
    return Target(text, _exact(name), over, least=least)


_SINGLES = "64 clients, single events"
_BATCHES = "8 clients, batches of 100"
_GROWTH = r"growth/log \d, [\d,]+ events: "

TARGETS: tuple[Target, ...] = (
    Target(f"{_SINGLES}: events/s", _exact(SINGLES), least=15_000),
    Target(f"{_SINGLES}: p99 ms", r"intake/tcp singles p99 ms", most=12),
    _ratio(f"{_SINGLES} by pgbench", SINGLES, "peers/pgbench, 64 clients events/s", 0.7),
    _ratio(f"{_SINGLES} by asyncpg", SINGLES, "peers/asyncpg, 64 clients events/s", 1.0),
    _ratio(
        f"{_SINGLES} by eventsourcing on its SQLite recorder",
        SINGLES,
        "peers/eventsourcing save(), 64 threads events/s",
        5,
    ),
    _ratio(f"{_SINGLES} by Dagster", SINGLES, "peers/Dagster store_event, 1 thread events/s", 30),
    Target(f"{_BATCHES}: events/s", _exact(BATCHES), least=60_000),
    Target(f"{_BATCHES}: p99 ms", r"intake/tcp batches p99 ms", most=30),
    _ratio(f"{_BATCHES} by limit (b)", BATCHES, "limits/plain 100 rows a commit events/s", 0.35),
    _ratio(
        f"{_BATCHES} by limit (a)",
        BATCHES,
        "limits/our schema at the groups of batches events/s",
        0.6,
    ),
    _ratio(f"{_BATCHES} by asyncpg", BATCHES, "peers/asyncpg, 8 clients x 100 events/s", 0.55),
    _ratio(
        "1 client, sequential by one-row commits",
        SEQUENTIAL,
        "limits/plain 1 row a commit events/s",
        0.4,
    ),
    _ratio(f"Unix socket, {_SINGLES} by TCP", "intake/unix singles events/s", SINGLES, 1.2),
    Target(
        "other requests during saturated batches: p99 ms",
        "intake/other requests during batches p99 ms",
        most=10,
    ),
    Target("all projections live: events/s", "projections/catch-up events/s", least=25_000),
    Target("lag at 15,000/s: events/s offered", "projections/lag offered events/s", least=14_500),
    Target("lag at 15,000/s: p99 ms", "projections/lag p99 ms", most=250),
    Target(
        "build jobs + history: events/s",
        _exact("projections/build jobs + job_history events/s"),
        least=150_000,
    ),
    Target("build everything: events/s", "projections/build everything events/s", least=60_000),
    Target(
        "rebuild everything in the daemon: events/s",
        "projections/rebuild everything in the daemon events/s",
        least=60_000,
    ),
    Target("any list page: p99 ms", r"queries/(list|alerts|files|events)/.* p99 ms", most=10),
    Target("text search: p99 ms", r"queries/search/.* p99 ms", most=30),
    Target("counts: p99 ms", r"queries/counts/.* p99 ms", most=20),
    Target("READY after kill -9, any size: s", r"start/.*, after a kill s", most=2),
    Target("a moment after the first replay: s", "replay/other moments, worst s", most=5),
    Target("list as of, cold: s", "replay/list as of, cold, worst s", most=5),
    Target("list as of, warm: p99 ms", "replay/list as of, warm, p99 ms", most=50),
    Target("one job as of: p99 ms", "replay/one job as of, p99 ms", most=5),
    Target("verify the log: events/s", "replay/verify, log alone events/s", least=100_000),
    Target("verify log and views: events/s", "replay/verify, all events/s", least=100_000),
    Target(
        "intake beside a rebuild by alone: p99",
        "replay/intake p99 ms, beside a rebuild",
        "replay/intake p99 ms, alone",
        most=2,
    ),
    Target(
        "intake during a purge by alone: p99",
        "retention/intake p99 ms, during purge",
        "retention/intake p99 ms, before purge",
        most=2,
    ),
    Target(
        "intake during archiving by alone: p99",
        "retention/intake p99 ms, during archive",
        "retention/intake p99 ms, before archive",
        most=2,
    ),
    Target(
        "intake beside a snapshot by alone: p99",
        "backup/intake p99 ms, beside a snapshot",
        "backup/intake p99 ms, alone",
        most=2,
    ),
    Target("resident while a snapshot is taken MB", r"backup/resident \(PSS\) MB", most=200),
    Target("restore from a directory: MB/s of log", "backup/restore MB/s", least=100),
    Target("log by structured JSON", rf"{_GROWTH}log / structured JSON", most=1.35),
    Target(
        "cost of an event, largest by smallest log",
        "growth/cost of an event, largest by smallest log",
        most=1.25,
    ),
    Target("resident under load MB", r"memory/under load, .*: resident \(PSS\) MB", most=250),
    Target("largest WAL MB", r"memory/.*largest WAL .* MB", most=256),
)


def table(rounds: Sequence[Figures]) -> list[str]:
    """Return the lines of the table of targets."""
    lines = [
        "| target | bound | measured | measured / bound | |",
        "|---|---|---|---|---|",
    ]
    for target in TARGETS:
        found = target.measured(rounds)
        number = target.least if target.most is None else target.most
        if found is None or number is None:
            lines.append(f"| {target.text} | {target.bound} | | | not measured |")
            continue
        name, value = found
        # Where several figures stand behind a target, the worst one is named.
        named = "" if re.escape(name) == target.figure or name == target.figure else f" ({name})"
        said = "met" if target.met(value) else "**not met**"
        shown = f"{value:,.0f}" if value >= LARGE else f"{value:.3g}"
        measured = f"{shown}{named} | {value / number:.2f}"
        lines.append(f"| {target.text} | {target.bound} | {measured} | {said} |")
    return lines
