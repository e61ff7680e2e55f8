"""How large a number, a subject, an event and a batch may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INTEGER_MAX: Final = 2**63 - 1
"""The greatest integer that SQLite, and so the log, holds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of what a producer may send; each can be set in the configuration.

    ``event_bytes`` counts the event in its compact form: ``data`` as it is stored, plus the UTF-8
    bytes of the other attributes' values. White space and escapes on the wire do not count.
    """

    subject_bytes: int = 4096
    event_bytes: int = 262_144
    batch_events: int = 10_000
    batch_bytes: int = 16 * 1024 * 1024
