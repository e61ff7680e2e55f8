"""Logs that take long to build: built once without a daemon, and kept for the next run."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from benchmarks.children import PYTHON, child, lines_of
from benchmarks.service import database_bytes, fresh
from benchmarks.suite import Bench
from daemon.eventlog.log import EventLog
from daemon.eventlog.statements import SQL
from daemon.lock import LOG_FILE, VIEWS_FILE
from domain.cloudevents import from_batch
from domain.limits import Limits
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner

BATCH = 2_000
GROWN = 1.25
"""A log that measurements have made larger than this is built anew."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A built log, as it was when it was new."""

    data: Path
    events: int
    json_bytes: int
    log_bytes: int
    views_bytes: int


def kept_log(bench: Bench, events: int, *, lean: bool = False) -> Kept:
    """Return a log with so many events and its views; built if there is none."""
    place = bench.cache / f"{events}{'-lean' if lean else ''}-{_key(bench.seed)}"
    facts = place / "facts.json"
    if facts.exists():
        kept = Kept(place / "data", **json.loads(facts.read_text()))
        if database_size(kept.data) < kept.log_bytes * GROWN + 100_000_000:
            return kept
    for older in bench.cache.glob(f"{place.name.rpartition('-')[0]}-*"):
        shutil.rmtree(older)
    print(f"building a log of {events:,} events", file=sys.stderr)
    kept = build(fresh(place) / "data", events, bench.seed, lean=lean)
    numbers = {name: value for name, value in asdict(kept).items() if name != "data"}
    facts.write_text(json.dumps(numbers))
    return kept


def copy(kept: Kept, place: Path) -> Path:
    """Return a copy of a kept log's directory, for what would change it much."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(kept.data, place, ignore=shutil.ignore_patterns("*.sock", "notify"))
    return place


def build(data: Path, events: int, seed: int, *, lean: bool = False) -> Kept:
    """Append events straight to a log, unsynced, and bring the views up to it."""
    data.mkdir(parents=True)
    command = [PYTHON, "-m", "benchmarks.workload", str(events), str(seed)]
    json_bytes = 0
    log = EventLog.open(data / LOG_FILE, synchronous="OFF")
    log.start()
    with closing(log):
        with child(
            [*command, *(["--lean"] if lean else [])],
            log=data.with_name("workload.log"),
            piped=True,
        ) as process:
            lines = iter(lines_of(process))
            while batch := [line.rstrip(b"\n") for line in islice(lines, BATCH)]:
                json_bytes += sum(map(len, batch))
                log.append(from_batch(b"[" + b",".join(batch) + b"]", Limits()))
        if log.head() != events:
            raise RuntimeError(f"{log.head()} of {events} events were built")
        with closing(ProjectionRunner(data / VIEWS_FILE, log)) as runner:
            runner.catch_up()
    sizes = [database_bytes(data, name) for name in (LOG_FILE, VIEWS_FILE)]
    return Kept(data, events, json_bytes, *sizes)


def database_size(data: Path) -> int:
    """Return the present size of a log's file; 0 where there is none."""
    path = data / LOG_FILE
    return path.stat().st_size if path.exists() else sys.maxsize


def _key(seed: int) -> str:
    """Return what changes when the same events would give another log or other views."""
    here = Path(__file__)
    parts = [
        here.with_name("workload.py").read_bytes(),
        (here.parents[1] / "daemon" / "eventlog" / "schema.sql").read_bytes(),
        repr(sorted(SQL.items())).encode(),
        repr([(each.name, each.version, each.schema("")) for each in PROJECTIONS]).encode(),
        str(seed).encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
