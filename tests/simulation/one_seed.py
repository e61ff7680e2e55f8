"""One simulation from its beginning to its end, and what came of it."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mutants import planted
from world import World

SECONDS_MAX = 300
"""A simulation that takes longer hangs."""


@dataclass
class Result:
    """How one simulation went."""

    seed: int
    digest: str = ""
    failure: str = ""
    fired: Counter[str] = field(default_factory=Counter)
    did: Counter[str] = field(default_factory=Counter)
    events: int = 0
    lives: int = 0
    seconds: float = 0.0


def simulate(seed: int, steps: int, mutant: str = "", *, verbose: bool = False) -> Result:
    """Run one seed in this process."""
    faulthandler.dump_traceback_later(SECONDS_MAX, exit=True)
    logging.disable(logging.NOTSET if verbose else logging.CRITICAL)
    logging.basicConfig(level=logging.DEBUG)
    # A connection that is forgotten instead of closed tells nobody who could mend it.
    sys.unraisablehook = lambda _: None
    began, result = time.monotonic(), Result(seed)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="simulation-", dir=memory) as folder,
        planted(mutant) as options,
    ):
        world = World(seed, Path(folder), **options)
        try:
            world.run(steps)
        except Exception:  # noqa: BLE001  whatever it is, it is what was found
            result.failure = traceback.format_exc()
        finally:
            world.close()
        result.digest, result.fired, result.did = world.digest, world.faults.fired, world.did
        result.events, result.lives = len(world.oracle.claims), world.lives
    faulthandler.cancel_dump_traceback_later()
    result.seconds = time.monotonic() - began
    return result
