"""Measure, round by round, and report: Markdown to stdout, JSON to ``benchmarks/results/``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import orjson

from benchmarks.raw_sqlite import Row, insert_rate, rows_of
from benchmarks.report import Figures, markdown
from benchmarks.service import Service, fresh, log_bytes, remove_views, serving
from benchmarks.workload import structured_events

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Load:
    """One way of sending: so many connections, each posting batches of this size."""

    name: str
    connections: int
    batch: int
    events: int


LOADS = (
    Load("batches", connections=8, batch=100, events=100_000),
    Load("singles", connections=64, batch=1, events=12_000),
    Load("sequential", connections=1, batch=1, events=2_000),
)
RAW_SINGLE_ROWS = 5_000


@dataclass(frozen=True)
class Workload:
    """Everything that is prepared before the first clock starts."""

    files: dict[str, Path]
    events: int
    json_bytes: int
    rows: list[Row]


def prepare(directory: Path, scale: float, seed: int) -> Workload:
    """Write the events of each load to a file, and make the rows of the yardstick."""
    files, rows, count, size = {}, list[Row](), 0, 0
    for number, load in enumerate(LOADS):
        events = list(structured_events(int(load.events * scale), seed + number))
        files[load.name] = directory / f"{load.name}.ndjson"
        files[load.name].write_bytes(b"\n".join(events) + b"\n")
        count += len(events)
        size += sum(map(len, events))
        if load.name == "batches":
            rows = rows_of(events, [orjson.loads(event)["subject"] for event in events])
    return Workload(files, count, size, rows)


def intake(service: Service, load: Load, events: Path) -> Figures:
    """Post one load from a process of its own; return its rate, latencies and cost."""
    command = [sys.executable, "-m", "benchmarks.client", "--port", str(service.port)]
    command += ["--connections", str(load.connections), "--batch", str(load.batch)]
    with subprocess.Popen(
        [*command, "--events", str(events)], stdin=-1, stdout=-1, text=True
    ) as client:
        assert client.stdout is not None
        if client.stdout.readline() != "ready\n":
            raise RuntimeError("the load client did not start")
        before = service.cpu_seconds()
        answer = client.communicate("go\n")[0]
        spent = service.cpu_seconds() - before
    if client.returncode:
        raise RuntimeError("the load client failed")
    measured = json.loads(answer)
    count = measured["requests"] * load.batch
    return {
        f"{load.name} events/s": count / measured["seconds"],
        f"{load.name} p50 ms": measured["p50_ms"],
        f"{load.name} p99 ms": measured["p99_ms"],
        f"{load.name} daemon cpu us/event": spent / count * 1e6,
    }


def one_round(directory: Path, work: Workload) -> Figures:
    """Measure everything once, the yardstick first."""
    data = fresh(directory) / "data"
    figures: Figures = {
        "raw 100 rows/transaction events/s": insert_rate(directory, work.rows, 100),
        "raw 1 row/transaction events/s": insert_rate(directory, work.rows[:RAW_SINGLE_ROWS], 1),
    }
    with serving(data) as service:
        for load in LOADS:
            figures |= intake(service, load, work.files[load.name])
        service.wait_visible(work.events)
    figures["log.db bytes/event"] = log_bytes(data) / work.events
    figures["log.db / structured JSON"] = log_bytes(data) / work.json_bytes
    remove_views(data)
    with serving(data) as service:
        started = time.perf_counter()
        service.wait_visible(work.events)
        figures["catch-up events/s"] = work.events / (time.perf_counter() - started)
        started = time.perf_counter()
        service.rebuild()
        figures["rebuild events/s"] = work.events / (time.perf_counter() - started)
    return figures


def machine() -> dict[str, Any]:
    """Return what the figures depend on, without naming the machine."""
    return {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
    }


def main() -> None:
    """Run the rounds and report."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the events")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    rounds, scale = (1, 0.1) if options.quick else (options.rounds, 1.0)
    options.results.mkdir(exist_ok=True)
    scratch = fresh(options.results / "scratch")
    try:
        work = prepare(scratch, scale, options.seed)
        measured = []
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            measured.append(one_round(scratch / "round", work))
    finally:
        shutil.rmtree(scratch)
    run = {"machine": machine(), "events": work.events, "seed": options.seed, "rounds": measured}
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    (options.results / f"{stamp}.json").write_text(json.dumps(run, indent=2) + "\n")
    print(markdown(run))


if __name__ == "__main__":
    main()
