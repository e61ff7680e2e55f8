"""What a measure found: plain values that are kept as JSON beside the files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

FILE: Final = "size.json"
"""The name of the last measure in the data directory."""
SAMPLES_MAX: Final = 40
"""How many sizes of earlier days are kept."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class Table(_Figures):
    """A table of a database: its rows, and the bytes it takes with its indexes."""

    name: str
    rows: int | None
    bytes: int
    index_bytes: int
    estimated: bool
    """Whether the bytes are reckoned from a part of its pages."""


class Database(_Figures):
    """A database file: how large it is, what of it holds something, and what its tables take."""

    bytes: int
    used: int
    free: int
    tables: tuple[Table, ...]


class Category(_Figures):
    """The events of a category that are kept: how many, and what was stored of them (bytes)."""

    name: str
    events: int
    bytes: int


class Growth(_Figures):
    """What was recorded per day over the last days."""

    days: int
    events: float
    bytes: float


class Sample(_Figures):
    """How large things were at a moment (bytes)."""

    time: int
    log: int
    data: int


class Measured(_Figures):
    """What one measure found; times are microseconds UTC, sizes bytes."""

    time: int
    seconds: float
    head: int
    since: int | None
    """When the oldest event that is kept was recorded."""
    databases: dict[str, Database]
    categories: tuple[Category, ...]
    growth: tuple[Growth, ...]
    samples: tuple[Sample, ...]
    """The sizes at this measure and before it, one for each day, the oldest first."""

    @property
    def estimated(self) -> bool:
        """Whether something of it is reckoned."""
        return any(table.estimated for each in self.databases.values() for table in each.tables)


def read_measured(folder: Path) -> Measured | None:
    """Return the last measure that was kept; None where there is none, or none that is whole."""
    try:
        return Measured.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def keep_measured(folder: Path, measured: Measured) -> None:
    """Keep a measure in place of the last one; a disk that refuses keeps the last one."""
    part = folder / f"{FILE}.part"
    with contextlib.suppress(OSError):
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(measured.model_dump_json().encode())
            part.replace(folder / FILE)
        finally:
            part.unlink(missing_ok=True)
