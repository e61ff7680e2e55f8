"""What the daemon and its decoder say to each other: frames that begin with their length."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from domain.cloudevents import from_batch, from_json_or_batch, from_ndjson
from domain.events import NewEvent
from domain.limits import Limits

HEAD: Final = struct.Struct("!IB")
"""Before each frame: the bytes that follow, and which decoder they are for."""

DECODERS: Final[tuple[Callable[[bytes, Limits], list[NewEvent]], ...]] = (
    from_batch,
    from_ndjson,
    from_json_or_batch,
)
"""Those that know nothing but bytes and limits, by their number in a frame."""
