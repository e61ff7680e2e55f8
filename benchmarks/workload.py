"""A seeded stream of typical job events, as producers send them.

Jobs live side by side: each event goes to one of the last ``WINDOW`` jobs, so that streams
interleave as they do when many workers report at once. A job has about six events.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson

from domain.timestamps import MICROSECONDS, format_timestamp

WINDOW = 2000
SOURCE = "/bench/etl/node-1"
START = 1_767_225_600 * MICROSECONDS
KINDS = ("csv2json", "sql-load", "transform", "bigquery", "report")
STAGES = ("download", "parse", "load", "verify")
PROGRESS_EVENTS_MAX = 4


def structured_events(count: int, seed: int) -> Iterator[bytes]:
    """Yield ``count`` CloudEvents in structured JSON; the same ones for the same seed."""
    chance = random.Random(seed)
    live: list[Iterator[tuple[str, str, dict[str, Any]]]] = []
    for number in range(count):
        if len(live) < WINDOW:
            live.append(_life(chance, f"{chance.getrandbits(64):016x}"))
        at = chance.randrange(len(live))
        try:
            subject, kind, payload = next(live[at])
        except StopIteration:
            live[at] = _life(chance, f"{chance.getrandbits(64):016x}")
            subject, kind, payload = next(live[at])
        yield orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"{seed:x}-{number:x}-{chance.getrandbits(32):08x}",
                "source": SOURCE,
                "type": kind,
                "subject": subject,
                "time": format_timestamp(START + number * 1_370),
                "correlationid": subject[-16:],
                "data": payload,
            }
        )


def _life(chance: random.Random, name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (subject, type, payload) of one job from its submission to its end."""
    kind = chance.choice(KINDS)
    subject = f"{kind}:hourly:{name}"
    day = f"2026-01-{chance.randint(1, 28):02d}"
    params = {"info": f"gs://raw/{kind}/{day}/part-{chance.randint(0, 99)}.json.gz", "table": "ev"}
    yield (
        subject,
        "job.submitted",
        {"kind": kind, "name": "hourly", "workflow": "etl/hourly.toml", "params": params},
    )
    worker = f"node-{chance.randint(1, 40):02d}.batch.example"
    yield subject, "job.started", {"worker": worker, "attempt": 1, "native_status": "running"}
    for step in range(chance.randint(1, PROGRESS_EVENTS_MAX)):
        rows = chance.randint(1_000, 9_000_000)
        message = f"{rows} rows read of {day}, {chance.randint(0, 50)} skipped"
        progress = {"fraction": (step + 1) / 5, "stage": STAGES[step], "message": message}
        yield subject, "job.progressed", progress
    if chance.random() < 0.1:
        error = {"class": "ConnectionError", "message": f"{worker}:5432 refused the connection"}
        yield subject, "job.failed", {"error": error, "native_status": "error"}
    else:
        result = {"rows": chance.randint(1_000, 9_000_000), "bytes": chance.getrandbits(30)}
        done = {"result": result, "message": "wrote every row", "native_status": "complete"}
        yield subject, "job.succeeded", done
