"""The shape of the answer about sizes, and its example; see `schemas`."""

from __future__ import annotations

from typing import Any, Final

from pydantic import AwareDatetime, Field

from daemon.api import examples
from daemon.api.schemas import Answer, DiskShape, Shape

_NOW: Final = "2026-02-04T06:12:47Z"


class DataShape(Shape):
    """What the data directory takes, without the reserve (bytes)."""

    bytes: int
    files: dict[str, int] = Field(description="By file and folder; `other` is all the rest.")


class ForecastShape(Shape):
    """When something reaches a line, as it grows now."""

    what: str = Field(description="log_bytes, data_bytes, disk_warn or disk_refuse.")
    line: int
    present: int = Field(description="What it is now; for the disk, what is free.")
    per_day: float | None = Field(
        description="By how much log or data grow each day; null while that is not known."
    )
    days: float | None = Field(description="Null for never, as it grows now.")
    at: AwareDatetime | None


class TableSizeShape(Shape):
    """A table with its indexes."""

    name: str
    rows: int | None = Field(description="Null where counting them takes too long.")
    bytes: int
    index_bytes: int
    estimated: bool = Field(description="Whether it was reckoned from a part of its pages.")


class DatabaseSizeShape(Shape):
    """A database file and what is in it (bytes)."""

    bytes: int
    used: int
    free: int = Field(description="Pages that hold nothing and are used again.")
    tables: list[TableSizeShape] = Field(description="The largest first.")


class CategorySizeShape(Shape):
    """The events of a category that are kept."""

    name: str
    events: int
    bytes: int = Field(description="What was stored of them, without indexes.")


class GrowthShape(Shape):
    """What was recorded each day, over some last days."""

    days: int
    events: float
    bytes: float


class SampleShape(Shape):
    """How large log and data directory were when they were measured (bytes)."""

    time: AwareDatetime
    log: int
    data: int


class MeasuredShape(Shape):
    """The last measure."""

    time: AwareDatetime
    seconds: float
    position: int = Field(description="Up to which event it goes.")
    since: AwareDatetime | None = Field(description="When the oldest kept event was recorded.")
    estimated: bool = Field(description="Whether any table was reckoned from a part of its pages.")
    databases: dict[str, DatabaseSizeShape]
    categories: list[CategorySizeShape] = Field(description="The largest first.")
    growth: list[GrowthShape]
    samples: list[SampleShape] = Field(description="One a day, the oldest first.")


class SizeShape(Answer):
    """What takes how much room, and where that leads."""

    disk: DiskShape
    data: DataShape
    forecast: list[ForecastShape]
    measured: MeasuredShape | None


def size() -> dict[str, Any]:
    """Return an answer about sizes."""
    tables = [
        {"name": "events", "rows": 1240, "bytes": 983040, "index_bytes": 147456, "estimated": False}
    ]
    return {
        "disk": examples.disk(),
        "data": {"bytes": 2_700_000, "files": {"log.db": 1_200_000, "views.db": 1_400_000}},
        "forecast": [
            {
                "what": "disk_refuse",
                "line": 256 << 20,
                "present": 21 << 30,
                "per_day": 900_000.0,
                "days": 24_756.0,
                "at": "2093-11-17T06:12:47Z",
            }
        ],
        "measured": {
            "time": _NOW,
            "seconds": 0.1,
            "position": 1240,
            "since": "2026-01-28T06:00:00Z",
            "estimated": False,
            "databases": {
                "log": {"bytes": 1_200_000, "used": 1_191_936, "free": 8192, "tables": tables}
            },
            "categories": [{"name": "job", "events": 1100, "bytes": 620_000}],
            "growth": [{"days": 1, "events": 180.0, "bytes": 101_000.0}],
            "samples": [{"time": _NOW, "log": 1_191_936, "data": 2_700_000}],
        },
        "as_of": 1240,
        "readonly": False,
    }
