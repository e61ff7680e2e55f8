"""How much of the past is kept at hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many checkpoints are kept, how large they are together, and how far apart at least."""

    count: int = 20
    bytes: int = 2 << 30
    spacing: int = 50_000


@dataclass(frozen=True, slots=True)
class MomentBounds:
    """How many moments are kept, and how large they are together (bytes)."""

    count: int = 4
    bytes: int = 4 << 30
