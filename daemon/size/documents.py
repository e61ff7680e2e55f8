"""Sizes as JSON: the same document by HTTP and by the command."""

from __future__ import annotations

from typing import Any, Final

from daemon.size.board import SizeBoard, data_size
from daemon.size.figures import Measured
from daemon.size.forecast import DAY, Forecast
from daemon.size.guard import Disk
from domain.timestamps import format_optional, format_timestamp

_FILES: Final = ("log.db", "log.db-wal", "views.db", "views.db-wal", "replay", "backup")
"""What is told of by name; everything else in the data directory is told of together."""


def size_document(board: SizeBoard, now: int) -> dict[str, Any]:
    """Return what is known of the sizes: what everything takes now, and the last measure.

    Raises:
        OSError: the data directory cannot be read.

    """
    sizes, disk = board.by_name(), board.disk()
    forecasts = board.forecasts(sizes, disk)
    return {
        "disk": disk_document(disk),
        "data": {"bytes": data_size(sizes), "files": _files(sizes)},
        "forecast": [_forecast(each, now) for each in forecasts],
        "measured": None if board.measured is None else _measured(board.measured),
    }


def disk_document(disk: Disk) -> dict[str, Any]:
    """Return how the disk stands."""
    return {
        "state": disk.state,
        "since": format_optional(disk.since or None),
        "total": disk.total,
        "free": disk.free,
        "reserve": disk.reserve,
        "warn": disk.lines.warn,
        "refuse": disk.lines.refuse,
    }


def _files(sizes: dict[str, int]) -> dict[str, int]:
    named = {name: sizes.get(name, 0) for name in _FILES}
    return {**named, "other": data_size(sizes) - sum(named.values())}


def _forecast(each: Forecast, now: int) -> dict[str, Any]:
    at = None if each.days is None else format_timestamp(now + int(each.days * DAY))
    return {**each._asdict(), "at": at}


def _measured(measured: Measured) -> dict[str, Any]:
    document = measured.model_dump()
    return {
        "time": format_timestamp(measured.time),
        "seconds": measured.seconds,
        "position": measured.head,
        "since": format_optional(measured.since),
        "estimated": measured.estimated,
        "databases": document["databases"],
        "categories": document["categories"],
        "growth": document["growth"],
        "samples": [
            {**sample, "time": format_timestamp(sample["time"])} for sample in document["samples"]
        ],
    }
