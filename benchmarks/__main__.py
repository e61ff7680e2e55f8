"""Measure, round by round, and report: Markdown to stdout, it and JSON to ``results/``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from benchmarks import (
    backup,
    growth,
    intake,
    levers,
    limits,
    machine,
    memory,
    projection,
    queries,
    replay,
    retention,
    start,
)
from benchmarks.children import REPOSITORY
from benchmarks.peers import measure as peers
from benchmarks.report import all_ratios, markdown
from benchmarks.suite import BIG, FULL, QUICK, SMOKE, Bench, Figures, Part

RESULTS = Path(__file__).parent / "results"
SCALES = {"full": FULL, "big": BIG, "quick": QUICK, "smoke": SMOKE}

PARTS = (
    Part("intake", "events/s and latency of every kind of client", intake.measure),
    Part("limits", "raw inserts of the same rows", limits.measure),
    Part("levers", "what each decision of the design is worth", levers.measure, once=True),
    Part("peers", "other stores on the same events", peers.measure),
    Part("big", "intake at the largest log", intake.measure_big, once=True),
    Part("projections", "catching up, lag, building again", projection.measure),
    Part("growth", "room and time of an event by the size of the log", growth.measure),
    Part("start", "time to READY after a stop and after a kill", start.measure, once=True),
    Part("queries", "every filter, sort and search over many jobs", queries.measure, once=True),
    Part("replay", "moments of the past, and a rebuild beside intake", replay.measure, once=True),
    Part("backup", "shipping, a snapshot beside intake, restoring", backup.measure, once=True),
    Part("retention", "purging and archiving beside intake", retention.measure, once=True),
    Part("memory", "resident at rest, under load, during a rebuild", memory.measure, once=True),
)
"""Everything that is measured; limits and peers next to the intake they are compared with."""


def main() -> None:
    """Run the rounds and report."""
    options = _options()
    if options.list:
        for part in PARTS:
            print(f"{part.name:12} {part.title}{' (first round only)' if part.once else ''}")
        return
    scale = SCALES[options.scale]
    every = [part.name for part in PARTS if part.name not in scale.left_out]
    wanted = options.only.split(",") if options.only else every
    unknown = set(wanted) - {part.name for part in PARTS}
    if unknown:
        sys.exit(f"there is no part {', '.join(sorted(unknown))}; --list names them")
    bench = Bench(scale, options.seed, options.results.absolute(), options.peers)
    started = time.monotonic()
    facts = machine.facts()
    bench.results.mkdir(parents=True, exist_ok=True)
    bench.fresh(".")
    try:
        parts = [part for part in PARTS if part.name in wanted]
        rounds = [
            one_round(bench, number, parts) for number in range(options.rounds or scale.rounds)
        ]
    finally:
        shutil.rmtree(bench.scratch)
    run = {
        "scale": options.scale,
        "seed": options.seed,
        "minutes": (time.monotonic() - started) / 60,
        "machine": facts,
        "notes": bench.notes,
        "rounds": rounds,
    }
    run["ratios"] = all_ratios(rounds)
    text = markdown(run)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    (bench.results / f"{stamp}.json").write_text(json.dumps(run, indent=2) + "\n")
    (bench.results / f"{stamp}.md").write_text(text + "\n")
    print(text)


def one_round(bench: Bench, number: int, parts: list[Part]) -> Figures:
    """Measure every part once, the machine itself first."""
    bench.round = number
    bench.groups.clear()
    figures = machine.measure(bench)
    for part in parts:
        if part.once and number:
            continue
        began = time.monotonic()
        figures |= part.measure(bench)
        took = time.monotonic() - began
        print(f"round {number + 1}: {part.name}, {took:.0f} s", file=sys.stderr)
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", help="parts to measure, with commas between")
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--scale", choices=SCALES, default="full")
    for name in ("quick", "big"):
        parser.add_argument(
            f"--{name}", dest="scale", action="store_const", const=name, help=f"--scale {name}"
        )
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where reports go")
    parser.add_argument(
        "--peers",
        type=Path,
        default=REPOSITORY / ".venv-peers" / "bin" / "python",
        help="the interpreter that has the Python peers",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
