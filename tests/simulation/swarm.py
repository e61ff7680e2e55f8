"""What a seed makes of a simulation: which faults there are, how often, and how small the bounds.

Every kind of fault is on in about half of the seeds, so that some are seen alone, and each together
with many others. Bounds are small, so that full groups, checkpoints and segments are met often.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

DISK_FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "no room": ("write",),
    "write error": ("write", "truncate", "delete"),
    "torn write": ("write",),
    "sync error": ("sync",),
    "read error": ("read",),
    "read only": ("write",),
    "cannot open": ("open",),
    "slow disk": ("read", "write", "sync"),
}
"""Which calls each kind of fault of the disk meets."""
STORE_FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "unavailable": ("put", "find", "get", "range", "list", "remove", "look", "swap"),
    "refused": ("put", "list", "swap"),
    "answer lost": ("put", "remove", "swap"),
    "broken download": ("get",),
    "damaged download": ("get",),
    "slow store": ("put", "find", "get", "list", "swap"),
}
"""The same of the object store."""
PROCESS_FAULTS: Final = ("kill", "kill inside", "power cut", "power cut inside", "disk lost")
"""How the process ends without being asked to; inside: at some call of a step."""
CLOCK_FAULTS: Final = ("clock back", "clock ahead")
WIRE_FAULTS: Final = ("client leaves",)

KINDS: Final = (*DISK_FAULTS, *STORE_FAULTS, *PROCESS_FAULTS, *CLOCK_FAULTS, *WIRE_FAULTS)

_TABLES: Final = """\
[[retention.policies]]
category = "job"
status = "succeeded"
age = "ended"
archive_after = "6h"
[[retention.policies]]
category = "job"
status = "archived"
age = "archived"
purge_after = "1d"
[[retention.policies]]
category = "job"
status = "failed"
age = "ended"
purge_after = "12h"
[[retention.policies]]
category = "job"
status = "submitted"
age = "last_event"
purge_after = "2d"
[[retention.policies]]
category = "alert"
age = "last_event"
purge_after = "8h"
[[retention.policies]]
category = "file"
age = "last_event"
purge_after = "8h"
"""


@dataclass(frozen=True)
class Swarm:
    """The choices of one seed."""

    kinds: frozenset[str]
    clients: int
    jobs: int
    knobs: dict[str, int] = field(default_factory=dict)
    daring: float = 0.03
    """How often a step is a fault."""

    @classmethod
    def of(cls, random: Random) -> Swarm:
        """Choose."""
        kinds = frozenset(kind for kind in KINDS if random.random() < 0.5)
        if random.random() < 0.1:
            kinds = frozenset()
        knobs = {
            "group_events": random.choice((3, 10, 10, 50, 5000)),
            "queue_events": random.choice((20, 100, 50_000)),
            "views_events": random.choice((5, 40, 10_000)),
            "segment_events": random.choice((10, 60, 50_000)),
            "batch": random.choice((1, 3, 20)),
            "checkpoint_pages": random.choice((8, 40, 4000)),
            "merged_min": random.choice((3, 16)),
            "rows_max": random.choice((10, 500)),
            "free_pages": random.choice((2, 256)),
            "told_min": random.choice((3, 2000)),
        }
        return cls(
            kinds,
            clients=random.randint(1, 4),
            jobs=random.choice((3, 12, 60)),
            knobs=knobs,
            daring=random.choice((0.01, 0.03, 0.08)),
        )

    def toml(self, synchronous: str, results: Path) -> str:
        """Return the configuration of the daemon; files of results are below a directory."""
        knobs = self.knobs
        return f"""\
[log]
synchronous = "{synchronous}"
group_events = {knobs["group_events"]}
queue_events = {knobs["queue_events"]}
[views]
batch_events = {knobs["views_events"]}
[backup]
url = "gs://simulated/backup"
segment_events = {knobs["segment_events"]}
snapshot = "hourly"
keep = "2 hourly, 2 daily"
forget_after_days = 1
[retention]
archive = "gs://simulated/archive"
files_root = "{results}"
batch = {knobs["batch"]}
[maintenance]
retention = "30 * * * *"
vacuum = "20 * * * *"
scrub = "0 4 * * *"
checkpoints = "off"
jitter_seconds = 0
[size]
disk_warn_bytes = 0
disk_refuse_bytes = 0
reserve_bytes = 0
{_TABLES}"""
