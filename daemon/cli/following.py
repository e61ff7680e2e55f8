"""``chronicled append --follow``: a file as it grows, from where an earlier run ended.

The place is remembered by the daemon, in the transaction of the events.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from daemon.cli.delivery import Delivery, Link
from daemon.cli.lines import LINE_BYTES_MAX, StopRequest
from daemon.cli.output import notice
from daemon.sources.following import Follower
from daemon.sources.lines import Place, Stretch

POLL_SECONDS: Final = 0.2
"""How often a file with nothing new is looked at."""

_PATH_MAX: Final = 1000


def follow_file(path: Path, delivery: Delivery, link: Link, stop: StopRequest) -> None:
    """Send the lines of a file until the stop is requested."""
    told = os.fsencode(path).decode(errors="replace")
    prefix = f"file:{told[-_PATH_MAX:]}@"
    follower = Follower(path, LINE_BYTES_MAX)
    earlier = _resume(follower, prefix, link)
    failure = ""
    try:
        while not stop.requested:
            try:
                stretch = follower.read(_now())
                said = ""
            except OSError as error:
                stretch, said = None, error.strerror or str(error)
            if said and said != failure:
                notice(f"{path}: {said}. It is tried again.")
            failure = said
            if stretch is not None:
                earlier = _send(follower, stretch, prefix, earlier, delivery)
            elif not follower.busy:
                stop.wait(POLL_SECONDS)
    finally:
        follower.close()


def _resume(follower: Follower, prefix: str, link: Link) -> str | None:
    """Go on where an earlier run ended; return under which name that is remembered."""
    known = link.ask("/api/intake/offsets", {"follow": prefix, "latest": "true"})
    if not known["offset"]:
        follower.resume(Place.before_all(), _now())
        return None
    updated = datetime.fromisoformat(known["updated"])
    place = Place.parse(prefix, known["follow"], known["offset"])
    follower.resume(place, int(updated.timestamp() * 1_000_000))
    return str(known["follow"])


def _send(
    follower: Follower, stretch: Stretch, prefix: str, earlier: str | None, delivery: Delivery
) -> str:
    """Send lines until they are recorded; return the name of the place behind them."""
    after = follower.place_after(stretch)
    name = after.name(prefix)
    place = {"follow": name}
    if earlier is not None and earlier != name:
        place["replaces"] = earlier
    delivery.send(stretch, place)
    follower.advance(after)
    return name


def _now() -> int:
    return time.time_ns() // 1000
