"""A seeded stream of job events as producers send them: the mix, sizes and id shapes of DESIGN.md.

Jobs live side by side: each event goes to one of the last ``WINDOW`` jobs, so that streams
interleave as they do when many workers report at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from domain.timestamps import MICROSECONDS, format_timestamp

WINDOW = 2000
START = 1_767_225_600 * MICROSECONDS
STEP = 250_000
"""Microseconds between two events; a million of them are three days."""

KINDS = (
    *("csv2json", "sql-load", "transform", "bigquery", "report", "annotation"),
    *("alignment", "export", "sort2file", "deduplicate", "thumbnail", "train"),
)
OWNERS = tuple(f"{name}-{at}" for name in ("mara", "jo", "ines", "tomas") for at in range(10))
QUEUES = ("default", "hourly", "bulk", "gpu")
STAGES = ("download", "parse", "load", "verify")
ERRORS = (
    ("ConnectionError", "{}:5432 refused the connection"),
    ("OutOfMemory", "killed on {} at 3.9 GiB of 4 GiB"),
    ("BadInput", "line {} does not parse: unexpected end of input"),
)
SHAPES = ("task", "task", "ulid", "ulid", "uuid", "uuid", "number")
"""How producers name jobs and events; one is drawn for each job."""

QUEUED = 0.4
PROGRESS_MAX = 3
TALKATIVE = 0.5
FAILED, CANCELLED, INTERRUPTED, LOST = 0.10, 0.02, 0.01, 0.005
RETRIED = 0.6
ATTEMPTS_MAX = 3
RESOLVED = 0.7
OBSERVED = 0.3
CHILD = 0.05
WORKFLOW_JOBS = 8
"""So many jobs share a correlation id, as those of one run of a workflow do."""

Step = tuple[str, str, dict[str, Any]]
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]


@dataclass(frozen=True, slots=True)
class Origin:
    """What the events of one job have in common."""

    source: str
    shape: str
    correlation: str


class Producers:
    """Makes jobs one after the other, each a story of events; the same ones for the same seed."""

    def __init__(self, seed: int, lean: bool) -> None:
        self.chance = Random(seed)
        self.now = START
        self._seed = seed
        self._lean = lean
        self._jobs = self._events = 0
        self._workflow = ("", "")
        self._parent: str | None = None

    def event_id(self, shape: str) -> str:
        """Return the id of the next event, in its producer's manner."""
        self._events += 1
        if shape == "ulid":
            return self.ulid()
        if shape == "uuid":
            return self.uuid()
        if shape == "number":
            return f"{self._seed:x}-{self._events}"
        return f"{self.chance.getrandbits(64):016x}"

    def ulid(self) -> str:
        """Return a ULID: milliseconds, then chance."""
        number = (self.now // 1000) << 80 | self.chance.getrandbits(80)
        return "".join(_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10))

    def uuid(self) -> str:
        """Return a random UUID."""
        text = f"{self.chance.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def job_id(self, shape: str, kind: str, attempt: int) -> str:
        """Return the id of a new job."""
        if shape == "ulid":
            return self.ulid()
        if shape == "uuid":
            return self.uuid()
        if shape == "number":
            return f"{kind}-{self._seed:x}-{self._jobs}-{attempt}"
        when = format_timestamp(self.now)[:19]
        return f"{kind}:hourly:{self.chance.getrandbits(32):08x}:{when}Z:{attempt}"

    def job(self) -> tuple[Origin, Iterator[Step]]:
        """Return a new job: where its events come from, and the events."""
        chance = self.chance
        if self._jobs % WORKFLOW_JOBS == 0:
            run = f"{chance.getrandbits(48):012x}"
            self._workflow = (f"etl/flow-{chance.randrange(60):02d}.toml", run)
        self._jobs += 1
        shape = chance.choice(SHAPES)
        source = f"/bench/{shape}/node-{chance.randrange(4)}"
        return Origin(source, shape, self._workflow[1]), self._story(shape, self._workflow[0])

    def _story(self, shape: str, workflow: str) -> Iterator[Step]:
        """Yield (subject, type, payload) from the submission to the end of the last attempt."""
        chance = self.chance
        kind = chance.choice(KINDS)
        day = format_timestamp(self.now)[:10]
        path = f"gs://raw/{kind}/{day}/part-{chance.getrandbits(20):05x}.json.gz"
        if chance.random() < OBSERVED:
            facts = {
                "path": path,
                "size": chance.getrandbits(28),
                "linecnt": chance.getrandbits(18),
            }
            checksum = f"{chance.getrandbits(64):016x}"
            yield path, "file.observed", {**facts, "checksum": checksum, "bucket": "raw"}
        submitted: dict[str, Any] = {
            "kind": kind,
            "name": f"{kind} {chance.randrange(200)}",
            "params": {"info": path},
            "owner": chance.choice(OWNERS),
            "queue": chance.choice(QUEUES),
            "workflow": workflow,
        }
        if chance.random() < CHILD and self._parent:
            submitted["parent"] = self._parent
        subject = self.job_id(shape, kind, 1)
        self._parent = subject
        for attempt in range(1, ATTEMPTS_MAX + 1):
            yield subject, "job.submitted", {**submitted, "attempt": attempt}
            again = self.job_id(shape, kind, attempt + 1)
            follows = attempt < ATTEMPTS_MAX and chance.random() < RETRIED
            ended = yield from self._attempt(subject, attempt)
            if ended != "job.failed":
                return
            if not follows:
                yield from self._alert(subject, kind, workflow)
                return
            delay = round(chance.uniform(5, 90), 1)
            yield subject, "job.retried", {"next": again, "delay_seconds": delay}
            subject = again

    def _attempt(self, subject: str, attempt: int) -> Generator[Step, None, str]:
        """Yield what happens to a job between its submission and its end; return its end."""
        chance = self.chance
        worker = f"node-{chance.randint(1, 40):02d}.batch.example"
        if not self._lean:
            if chance.random() < QUEUED:
                reason = f"{chance.randint(1, 40)} jobs before this one"
                yield subject, "job.queued", {"queue": "default", "reason": reason}
            started = {"worker": worker, "attempt": attempt}
            yield subject, "job.started", started
            for step in range(chance.randint(0, PROGRESS_MAX)):
                rows = chance.randint(1_000, 9_000_000)
                progress: dict[str, Any] = {"fraction": (step + 1) / 5, "stage": STAGES[step]}
                if chance.random() < TALKATIVE:
                    progress["message"] = f"{rows} rows, {chance.randint(0, 50)} skipped"
                yield subject, "job.progressed", progress
        kind, payload = self._end(worker)
        yield subject, kind, payload
        return kind

    def _end(self, worker: str) -> tuple[str, dict[str, Any]]:
        """Return how a job ends."""
        chance = self.chance
        drawn = chance.random()
        if drawn < FAILED:
            name, message = chance.choice(ERRORS)
            text = message.format(worker if "{}:" in message else chance.getrandbits(20))
            log = f"attempt on {worker} gave up after {chance.randint(1, 900)} s"
            error = {"class": name, "message": text, "log": log}
            return "job.failed", {"error": error, "native_status": "ERROR"}
        for share, kind in ((CANCELLED, "cancelled"), (INTERRUPTED, "interrupted"), (LOST, "lost")):
            drawn -= share
            if drawn < FAILED:
                return f"job.{kind}", {"reason": f"{kind} by the host"}
        result = {"rows": chance.randint(1_000, 9_000_000), "bytes": chance.getrandbits(30)}
        message = f"wrote batch {chance.getrandbits(24):06x}"
        return "job.succeeded", {"result": result, "message": message}

    def _alert(self, job: str, kind: str, workflow: str) -> Iterator[Step]:
        """Yield the alert about a job that failed for good, and its resolution if there is one."""
        alert = self.ulid()
        yield (
            alert,
            "alert.raised",
            {
                "severity": self.chance.choice(("warning", "error", "critical")),
                "kind": "retries_exhausted",
                "title": f"{kind} gave up",
                "fingerprint": f"{kind}:{workflow}",
                "job": job,
            },
        )
        if self.chance.random() < RESOLVED:
            yield alert, "alert.resolved", {"by": "on-call", "reason": "ran again by hand"}


def structured_events(
    count: int, seed: int, *, lean: bool = False, window: int = WINDOW, whole: bool = False
) -> Iterator[bytes]:
    """Yield ``count`` CloudEvents in structured JSON; the same ones for the same seed.

    Lean jobs are only submitted and ended: many jobs of few events. With ``whole`` the jobs that
    are open at the count, ``window`` of them, get the rest of their events too.
    """
    producers = Producers(seed, lean)
    live: list[tuple[Origin, Iterator[Step]]] = []
    chance = producers.chance
    while count > 0 or (whole and live):
        producers.now += STEP
        if len(live) < window and count > 0:
            live.append(producers.job())
        at = chance.randrange(len(live))
        origin, story = live[at]
        step = next(story, None)
        if step is None:
            live[at : at + 1] = [producers.job()] if count > 0 else []
            continue
        subject, kind, payload = step
        count -= 1
        yield orjson.dumps(
            {
                "specversion": "1.0",
                "id": producers.event_id(origin.shape),
                "source": origin.source,
                "type": kind,
                "subject": subject,
                "time": format_timestamp(producers.now),
                "correlationid": origin.correlation,
                "data": payload,
            }
        )


def main() -> None:
    """Write events to standard output, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--lean", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--window", type=int, default=WINDOW)
    options = vars(parser.parse_args())
    for event in structured_events(options.pop("count"), options.pop("seed"), **options):
        sys.stdout.buffer.write(event + b"\n")


if __name__ == "__main__":
    main()
