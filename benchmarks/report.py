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

RATIOS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"intake/.* singles events/s", (OURS_SINGLE, r"peers/.*, 64 (clients|threads) events/s")),
    (r"intake/.* (batches|bulk) events/s", (OURS_BATCH, PLAIN_BATCH, r"peers/.* 100 events/s")),
    (r"intake/.* sequential events/s", (PLAIN_SINGLE, r"peers/.*, 1 (client|thread) events/s")),
    (r"intake/(unix|without projections|at [\d,]+) (\w+) events/s", ("intake/tcp {1} events/s",)),
    (r"intake/(unix|without projections|at [\d,]+) (\w+) p(.*) ms", ("intake/tcp {1} p{2} ms",)),
    (r"intake/.* cpu us/\w+", ("intake/client alone cpu us/request",)),
    (r"intake/client alone, .*", (r"intake/tcp singles events/s",)),
    (r"intake/other requests .* (p\d+) ms", ("intake/tcp batches {0} ms",)),
    (r"peers/.* events/s", (PLAIN_BATCH, PLAIN_SINGLE)),
    (r"limits/.* events/s", (PLAIN_BATCH,)),
    (r"levers/(storage|decoding|hand-over|projections), .*: (.*)", ("levers/{0}, as it is: {1}",)),
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
        lines += ["| figure | median | least to most | ratios |", "|---|---|---|---|"]
        for name in names:
            if name.startswith(f"{part}/"):
                lines.append(_line(name, rounds))
    return "\n".join([*lines, "", "## Targets", "", *table(rounds)])


def _line(name: str, rounds: Sequence[Figures]) -> str:
    values = [figures[name] for figures in rounds if name in figures]
    compared = "; ".join(
        f"{number(share)} x {other.partition('/')[2].removesuffix(' events/s')}"
        for other, share in ratios(name, rounds)
    )
    spread = f"{number(min(values))} to {number(max(values))}" if len(values) > 1 else ""
    label = name.partition("/")[2].replace("|", "\\|")
    return f"| {label} | {number(median(values))} | {spread} | {compared} |"
