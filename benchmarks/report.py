"""The report of a run: medians over the rounds, their spread, and ratios within each round."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.suite import Figures
from benchmarks.targets import table

PLAIN_BATCH = "limits/plain 100 rows a commit events/s"
PLAIN_SINGLE = "limits/plain 1 row a commit events/s"
OURS_BATCH = "limits/our schema at the groups of batches events/s"
OURS_SINGLE = "limits/our schema at the groups of singles events/s"

COLUMNS = (
    *("events/s", "p50 ms", "p99 ms", "p99.9 ms", "mean ms"),
    *("daemon cpu us/event", "client cpu us/request", "cpu us/event", "events a commit"),
)
"""What one line of the report shows of a thing; other figures have a line each."""
OTHER = "figure"

RATIOS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"intake/.* singles events/s", (OURS_SINGLE, r"peers/.*, 64 (clients|threads) events/s")),
    (r"intake/.* (batches|bulk) events/s", (OURS_BATCH, PLAIN_BATCH, r"peers/.* 100 events/s")),
    (r"intake/.* sequential events/s", (PLAIN_SINGLE, r"peers/.*, 1 (client|thread) events/s")),
    (r"intake/tcp pipelined batches events/s", ("intake/tcp batches events/s",)),
    (r"intake/(unix|without projections|at [\d,]+) (\w+) events/s", ("intake/tcp {1} events/s",)),
    (r"intake/(unix|without projections|at [\d,]+) (\w+) p(.*) ms", ("intake/tcp {1} p{2} ms",)),
    (r"intake/.* cpu us/\w+", ("intake/client alone cpu us/request",)),
    (r"intake/client alone, .*", (r"intake/tcp singles events/s",)),
    (r"intake/other requests .* (p\d+) ms", ("intake/tcp batches {0} ms",)),
    (r"peers/.* events/s", (PLAIN_BATCH, PLAIN_SINGLE)),
    (r"limits/.* events/s", (PLAIN_BATCH,)),
    (
        r"levers/(storage|keys|decoding|hand-over|projections|beside the projections"
        r"|writer of [\w ]+), .*: (.*)",
        ("levers/{0}, as it is: {1}",),
    ),
    (r"levers/server, .*: (.*)", ("levers/server, uvloop httptools bare: {0}",)),
    (r"projections/.* events/s", (PLAIN_BATCH,)),
    (r"projections/.* cpu us/event", ("projections/build everything cpu us/event",)),
    (r"projections/lag .*(p\d+) ms", ("intake/tcp batches {0} ms",)),
    (r"queries/.* (p\d+) ms", ("queries/one/healthz {0} ms",)),
    (r"start/.* s", ("start/imports alone s",)),
    (r"growth/log \d, [\d,]+ events: (.*)", (r"growth/log 1, [\d,]+ events: {0}",)),
    (r"memory/.*: (.*)", (r"memory/at rest, [\d,]+ events: {0}",)),
)
"""What each figure is divided by, of the same round: patterns of names; all that match count.

``{0}`` stands for the first group of the figure's own pattern.
"""


def ratios(name: str, rounds: Sequence[Figures]) -> list[tuple[str, float]]:
    """Return what a figure is compared with, and the median of its ratio to that."""
    found = []
    names = dict.fromkeys(each for figures in rounds for each in figures)
    for pattern, others in RATIOS:
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        for other in others:
            wanted = re.compile(other.format(*map(re.escape, match.groups())))
            for each in names:
                if each != name and wanted.fullmatch(each):
                    shares = [
                        figures[name] / figures[each]
                        for figures in rounds
                        if name in figures and figures.get(each)
                    ]
                    if shares:
                        found.append((each, median(shares)))
    return found


def all_ratios(rounds: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Return every figure's ratios, by figure and by what it is compared with."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: dict(found) for name in names if (found := ratios(name, rounds))}


def number(value: float) -> str:
    """Return a number as people read it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def markdown(run: dict[str, Any]) -> str:
    """Return the whole report."""
    rounds: list[Figures] = run["rounds"]
    facts = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    lines = [
        f"# Benchmarks: {run['scale']}",
        "",
        f"{len(rounds)} rounds, {run['minutes']:.1f} minutes; {facts}.",
        "Medians over the rounds; ratios within each round, then their median.",
    ]
    lines += [f"\nNot measured: {name}: {why}." for name, why in run["notes"].items()]
    names = dict.fromkeys(name for figures in rounds for name in figures)
    for part in dict.fromkeys(name.partition("/")[0] for name in names):
        lines += ["", f"## {part}", ""]
        lines += _table([name for name in names if name.startswith(f"{part}/")], rounds)
    return "\n".join([*lines, "", "## Targets", "", *table(rounds)])


def _table(names: Sequence[str], rounds: Sequence[Figures]) -> list[str]:
    """Return a part's table: what belongs to one thing is one line, its first figure compared."""
    things: dict[str, dict[str, str]] = {}
    for name in names:
        thing, column = _split(name)
        things.setdefault(thing, {})[column] = name
    found = {column for figures in things.values() for column in figures}
    columns = [column for column in (OTHER, *COLUMNS) if column in found]
    lines = [f"| | {' | '.join(columns)} | least to most | ratios |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    for thing, figures in things.items():
        cells = [
            number(_median(figures[each], rounds)) if each in figures else "" for each in columns
        ]
        first = next(iter(figures.values()))
        values = [each[first] for each in rounds if first in each]
        spread = f"{number(min(values))} to {number(max(values))}" if len(values) > 1 else ""
        compared = "; ".join(
            f"{number(share)} x {other.partition('/')[2].removesuffix(' events/s')}"
            for other, share in ratios(first, rounds)
        )
        lines.append(f"| {thing} | {' | '.join(cells)} | {spread} | {compared} |")
    return lines


def _split(name: str) -> tuple[str, str]:
    """Return what a figure is about, and its column."""
    thing = name.partition("/")[2]
    for column in COLUMNS:
        if thing.endswith(f" {column}"):
            return thing.removesuffix(f" {column}").rstrip(":"), column
    return thing, OTHER


def _median(name: str, rounds: Sequence[Figures]) -> float:
    return median(figures[name] for figures in rounds if name in figures)
