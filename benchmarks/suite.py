"""What every measurement has at hand: sizes, directories, events, and what the round has shown."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.children import PYTHON, run
from benchmarks.service import fresh

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is."""

    rounds: int
    seconds: float
    """How long one load lasts."""
    rate_max: int
    """No load is faster than this (events a second): so many events are prepared."""
    rows: int
    """Rows of the raw inserts."""
    projected: int
    """Events of the projections' measurements."""
    logs: tuple[int, ...]
    """Sizes of logs that are measured, smallest first (events)."""
    jobs: int
    """Jobs that are queried."""
    requests: int
    """Requests of each query."""
    backed_up: int
    """Events of the log that is backed up; three million are 1 GiB."""
    left_out: tuple[str, ...] = ()
    """Parts, and peers, that take too long for this scale."""
    lag_rate: int = 15_000
    lag_seconds: float = 3.0


FULL = Scale(
    rounds=5,
    seconds=1.2,
    rate_max=120_000,
    rows=100_000,
    projected=150_000,
    logs=(100_000, 1_000_000),
    jobs=1_000_000,
    requests=200,
    backed_up=3_000_000,
)
BIG = replace(FULL, rounds=3, logs=(100_000, 1_000_000, 10_000_000))
QUICK = Scale(
    rounds=1,
    seconds=0.8,
    rate_max=80_000,
    rows=20_000,
    projected=40_000,
    logs=(20_000, 100_000),
    jobs=50_000,
    requests=60,
    backed_up=100_000,
    left_out=("levers", "big", "Prefect"),
    lag_seconds=1.5,
)
SMOKE = Scale(
    rounds=1,
    seconds=0.2,
    rate_max=10_000,
    rows=1_000,
    projected=2_000,
    logs=(1_000, 2_000),
    jobs=1_000,
    requests=10,
    backed_up=2_000,
    lag_rate=2_000,
    lag_seconds=0.3,
)


@dataclass
class Bench:
    """One run of the suite."""

    scale: Scale
    seed: int
    results: Path
    peers: Path
    """The interpreter that has the Python peers, if it is there."""
    notes: dict[str, str] = field(default_factory=dict)
    """Why something was not measured."""
    groups: dict[str, float] = field(default_factory=dict)
    """How many events a commit held, by load, in the present round."""
    round: int = 0

    @property
    def scratch(self) -> Path:
        """Where everything goes that ends with the run."""
        return self.results / "scratch"

    @property
    def cache(self) -> Path:
        """Where built logs are kept for the next run."""
        return self.results / "cache"

    def fresh(self, name: str) -> Path:
        """Return an empty directory."""
        return fresh(self.scratch / name)

    def events(self, name: str, count: int, *, unseen: bool = False) -> Path:
        """Return a file of events, one a line; the same ones for the same name and seed.

        ``unseen``: events that no run has sent before, for logs that outlive the run.
        """
        path = self.scratch / f"{name}-{count}.ndjson"
        if unseen or not path.exists():
            part = time.time_ns() if unseen else zlib.crc32(name.encode())
            command = [PYTHON, "-m", "benchmarks.workload", str(count), str(self.seed + part)]
            with path.open("wb") as file:
                run(command, stdout=file)
        return path

    def load_events(self, name: str, share: float = 1.0, *, unseen: bool = False) -> Path:
        """Return enough events for a load that is this share of the fastest."""
        scale = self.scale
        count = int(scale.rate_max * scale.seconds * share) // 1000 * 1000
        return self.events(name, max(count, 1000), unseen=unseen)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is measured; ``once``: in the first round only."""

    name: str
    title: str
    measure: Callable[[Bench], Figures]
    once: bool = False
