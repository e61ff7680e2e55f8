"""A daemon under steady load for as long as is asked: ``make soak MINUTES=30``.

A real process with a backup, an archive and every schedule of the maintenance on is offered single
events at half of the rate that it was measured to take, with bursts of ten times that, while others
read its lists and follow its live stream. At the end this has to hold, or the exit code is 1:

* all that was acknowledged is in the log as it was sent, or was removed by its retention, and the
  log verifies;
* the views and the backup have caught up;
* each follower was told of rising positions up to the newest, and of all that is there;
* what its lasting processes had resident in the last ten minutes (in the last third of a shorter
  run) is at most 5 % more than in the first; of less than three minutes nothing is said.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.acknowledged import Acknowledged
from benchmarks.children import PYTHON, run, wait_for
from benchmarks.followers import Follower
from benchmarks.load import Load, Measured, client, send
from benchmarks.resident import Resident
from benchmarks.service import Service, serving

CLIENTS = 64
ROUND_SECONDS = 20.0
"""The load is sent in rounds, each by a client that has prepared its requests."""
PEAK_SECONDS = 5.0
PEAK_MAX = 20_000
"""No more single events a second are prepared to measure the peak."""
WINDOW = 200
"""So many jobs are open at once."""
FOLLOWED: Sequence[dict[str, str]] = (
    {},
    {"type": "job.failed"},
    {"type": "alert.raised"},
    {"source": "/nobody"},
)
"""What each follower wants to be told of; the first one of everything."""
BURST_EVERY = 3
"""Every so many rounds there is a burst."""
BURST_FACTOR, BURST_SECONDS = 10, 2.0
READS_A_SECOND = 20
WARM_EVENTS = 300_000
"""So many events of short jobs fill what the daemon remembers of streams, before it is watched."""
WARM_SECONDS = 10.0
"""So long lists are read as fast as they come, for the same reason."""
WARM_ROUNDS = 6
"""So many rounds, each with a burst, bring memory to the height that load and bursts need."""
GROWTH_MAX = 1.05
GROWTH_MINUTES = 3.0
"""Shorter runs say nothing of growth: their caches still fill."""
READS = (
    b"/api/jobs?limit=50\n/api/jobs?limit=50&status=failed\n/api/summary\n/api/alerts\n"
    b"/api/events?order=desc&limit=50\n/api/metrics\n/metrics\n/api/tasks\n/api/queues\n/readyz\n"
)
POLICIES = [
    {"category": "job", "status": status, "age": "ended", action: "30d"}
    for status, action in (("failed", "archive_after"), ("cancelled", "purge_after"))
] + [{"category": "alert", "age": "last_event", "purge_after": "30d"}]
"""The jobs of the load ended long ago, so some of them are due at once."""


def settings(folder: Path) -> dict[str, str]:
    """Return the settings of the daemon: everything that works beside intake is on."""
    minutely = dict.fromkeys(("RETENTION", "SIZE", "VACUUM", "CHECKPOINTS"), "* * * * *")
    schedules = minutely | {"SCRUB": "*/10 * * * *", "JITTER_SECONDS": "0"}
    return {
        **{f"CHRONICLED_MAINTENANCE__{name}": value for name, value in schedules.items()},
        "CHRONICLED_BACKUP__URL": (folder / "backup").as_uri(),
        "CHRONICLED_BACKUP__SEGMENT_SECONDS": "2",
        "CHRONICLED_RETENTION__ARCHIVE": (folder / "archive").as_uri(),
        "CHRONICLED_RETENTION__POLICIES": orjson.dumps(POLICIES).decode(),
        "CHRONICLED_RETENTION__RUN_MAX": "500",
        "CHRONICLED_REPLAY__CHECKPOINTS": "3",
    }


class Soak:
    """One run on a folder: its daemon, what was acknowledged, and how long answers took."""

    def __init__(self, service: Service, folder: Path, seed: int) -> None:
        self.service = service
        self.folder = folder
        self.acknowledged = Acknowledged(folder / "acknowledged.db")
        self.steady: list[Measured] = []
        self.bursts: list[Measured] = []
        self.lags: list[float] = []
        self._seed = seed

    def fill_caches(self, reads: Path) -> None:
        """Fill the caches of the writer and of the readers: that they do is no growth."""
        events = self.events("warm", WARM_EVENTS, lean=True)
        self._keep(events, send(self.service.port, self.folder, batch=100, events=events))
        self.service.wait_visible()
        options = {"gets": reads, "repeat": True, "seconds": WARM_SECONDS}
        send(self.service.port, self.folder, clients=8, **options)

    def warm_up(self, rate: float, reads: Path) -> None:
        """Go through rounds whose times do not count."""
        for _ in range(WARM_ROUNDS):
            with reading(self.service, self.folder, reads, ROUND_SECONDS):
                self.round(rate, ROUND_SECONDS, burst=True)
        for seen in (self.steady, self.bursts, self.lags):
            seen.clear()

    def events(self, name: str, count: int, *, lean: bool = False) -> Path:
        """Return a file of events that no round has sent."""
        self._seed += 1
        path = self.folder / f"{name}-{self._seed}.ndjson"
        command = [PYTHON, "-m", "benchmarks.workload", max(count, 1), self._seed]
        # Each round's jobs end with it: a daemon that gets more and more open ones is not at rest.
        command += ["--whole", "--window", WINDOW, *(["--lean"] if lean else [])]
        with path.open("wb") as file:
            run(["nice", *command], stdout=file)
        return path

    def peak(self) -> float:
        """Return how many single events a second the daemon takes, as fast as it can."""
        events = self.events("peak", int(PEAK_MAX * PEAK_SECONDS))
        seen = send(
            self.service.port, self.folder, clients=CLIENTS, events=events, seconds=PEAK_SECONDS
        )
        self._keep(events, seen)
        self.service.wait_visible()
        return seen.rate

    def round(self, rate: float, seconds: float, *, burst: bool) -> None:
        """Offer events at a rate, with a burst in between; note what was acknowledged."""
        with ExitStack() as stack:
            loads = [self._load(stack, "steady", rate, seconds)]
            if burst:
                loads.append(self._load(stack, "burst", rate * BURST_FACTOR, BURST_SECONDS))
            for load, _ in loads:
                load.go()
            seen = [load.result() for load, _ in loads]
        self.steady.append(seen[0])
        self.bursts += seen[1:]
        for (_, events), measured in zip(loads, seen, strict=True):
            self._keep(events, measured)
        if burst:
            begun = time.monotonic()
            self.service.wait_visible()
            self.lags.append(time.monotonic() - begun)

    def _load(self, stack: ExitStack, name: str, rate: float, seconds: float) -> tuple[Load, Path]:
        events = self.events(name, int(rate * seconds))
        options = {"clients": CLIENTS, "rate": rate, "events": events}
        return stack.enter_context(client(self.service.port, self.folder, **options)), events

    def _keep(self, events: Path, seen: Measured) -> None:
        with events.open("rb") as lines:
            self.acknowledged.add(line for line, _ in zip(lines, range(seen.events), strict=False))
        events.unlink()


def soak(folder: Path, minutes: float, rate: float, seed: int) -> list[str]:
    """Run it; return what does not hold."""
    faults: list[str] = []
    reads = folder / "reads"
    reads.write_bytes(READS)
    with serving(folder / "data", settings(folder)) as service:
        run_ = Soak(service, folder, seed)
        if minutes >= GROWTH_MINUTES:
            run_.fill_caches(reads)
        if not rate:
            peak = run_.peak()
            rate = peak / 2
            told(f"the peak of single events is {peak:,.0f} a second")
        if minutes >= GROWTH_MINUTES:
            run_.warm_up(rate, reads)
        told(f"{rate:,.0f} events a second for {minutes:g} minutes")
        with ExitStack() as stack:
            begun = service.head()
            followers = [
                stack.enter_context(Follower(service.socket, begun, **wanted))
                for wanted in FOLLOWED
            ]
            resident = stack.enter_context(Resident(service.pids))
            for number, seconds in enumerate(lengths(minutes)):
                with reading(service, folder, reads, seconds):
                    run_.round(rate, seconds, burst=number % BURST_EVERY == 1)
                if number % BURST_EVERY == 1:
                    told(f"  {run_.acknowledged.count:>11,} events, {resident.newest()}")
            faults += settled(service, followers)
        report(run_, resident)
        if minutes >= GROWTH_MINUTES:
            faults += resident.growth_faults(GROWTH_MAX)
    log = folder / "data" / "log.db"
    faults += run_.acknowledged.missing(log)
    faults += [missed for each in followers for missed in each.missed(log)]
    run([PYTHON, "-m", "daemon", "verify", "--data", folder / "data"], capture_output=True)
    told(f"{run_.acknowledged.count:,} acknowledged events are there; the log verifies")
    return faults


def lengths(minutes: float) -> Sequence[float]:
    """Return how long each round lasts (seconds)."""
    count = max(math.ceil(minutes * 60 / ROUND_SECONDS), 2)
    return [minutes * 60 / count] * count


@contextmanager
def reading(service: Service, folder: Path, paths: Path, seconds: float) -> Iterator[None]:
    """Read lists at a steady pace meanwhile."""
    options = {"gets": paths, "repeat": True, "rate": READS_A_SECOND, "seconds": seconds}
    with client(service.port, folder, clients=4, **options) as load:
        load.go()
        yield
        load.result()


def settled(service: Service, followers: Sequence[Follower]) -> list[str]:
    """Wait until nothing is behind; return what still is."""
    faults: list[str] = []

    def shipped() -> bool:
        return bool(service.get("/api/backup")["lag_events"] == 0)

    def told_all() -> bool:
        # Asked again each time: the newest of a kind may be removed before it is told.
        return followers[0].last >= head and all(
            each.last >= newest(service, each.wanted) for each in followers
        )

    head = service.head()
    checks = (
        ("the views", service.wait_visible),
        ("the backup", lambda: wait_for(shipped, "the backup", 0.1)),
        ("a follower", lambda: wait_for(told_all, "it", 0.1)),
    )
    for what, wait in checks:
        try:
            wait()
        except TimeoutError:
            faults.append(f"{what} did not catch up")
    return faults + [each.fault for each in followers if each.fault]


def newest(service: Service, wanted: dict[str, str]) -> int:
    """Return the position of the newest event that a follower wants to be told of, or 0."""
    found = service.get("/api/events", order="desc", limit=1, **wanted)["items"]
    return int(found[0]["position"]) if found else 0


def report(done: Soak, resident: Resident) -> None:
    """Print what was measured."""
    for name, seen in (("steady", done.steady), ("bursts", done.bursts)):
        if seen:
            median = statistics.median(each.p50_ms for each in seen)
            tail = statistics.median(each.p99_ms for each in seen)
            told(
                f"{name}: {sum(each.events for each in seen):,} events, p50 {median:.2f} ms, "
                f"p99 {tail:.2f} ms (of the median round; the worst "
                f"{max(each.p99_ms for each in seen):.2f} ms), "
                f"max {max(each.max_ms for each in seen):.2f} ms"
            )
    if done.lags:
        told(f"after a burst the views were at the head within {max(done.lags):.2f} s")
    for line in resident.lines():
        told(line)


def told(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def main() -> int:
    """Read the arguments and run; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; else half a peak")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**31)
    parser.add_argument("--folder", type=Path, help="where everything goes; else a temporary one")
    asked: Any = parser.parse_args()
    told(f"seed {asked.seed}")
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=asked.folder))
    faults = soak(folder, asked.minutes, asked.rate, asked.seed)
    for fault in faults:
        told(f"FAULT: {fault}")
    if faults:
        told(f"everything is left in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
