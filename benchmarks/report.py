"""The report of a run: medians over the rounds, their spread, and ratios within each round."""

from __future__ import annotations

from statistics import median
from typing import Any

Figures = dict[str, float]

RAW_BATCH = "raw 100 rows/transaction events/s"
RAW_SINGLE = "raw 1 row/transaction events/s"
YARDSTICK = {
    "batches events/s": RAW_BATCH,
    "singles events/s": RAW_SINGLE,
    "sequential events/s": RAW_SINGLE,
    "catch-up events/s": RAW_BATCH,
    "rebuild events/s": RAW_BATCH,
}
"""Which raw figure of the same round a figure is divided by."""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def markdown(run: dict[str, Any]) -> str:
    """Return the report as one Markdown table."""
    rounds: list[Figures] = run["rounds"]
    facts = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    lines = [
        f"{run['events']:,} events a round, {len(rounds)} rounds; {facts}.",
        "",
        "| figure | median | least to most | ratio to raw SQLite |",
        "|---|---|---|---|",
    ]
    for name in rounds[0]:
        values = [figures[name] for figures in rounds]
        ratio = ""
        if raw := YARDSTICK.get(name):
            share = median(figures[name] / figures[raw] for figures in rounds)
            ratio = f"{share:.2f} x {raw.removesuffix(' events/s')}"
        spread = f"{_number(min(values))} to {_number(max(values))}"
        lines.append(f"| {name} | {_number(median(values))} | {spread} | {ratio} |")
    return "\n".join(lines)
