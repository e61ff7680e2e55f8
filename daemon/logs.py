"""The daemon's own log: one line a record on standard error, for people, for machines or journald.

Fields beside the message are given as ``extra={...}`` to the standard library's loggers. Bodies,
headers and query strings are never logged, so that no secret of a producer gets here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

Format = Literal["auto", "json", "plain"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.DEBUG, 7),
)


def configure(
    level: str,
    style: Format = "auto",
    *,
    stream: TextIO = sys.stderr,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Write the records of every logger to ``stream``, from ``level`` upward."""
    writer = logging.StreamHandler(stream)
    writer.setFormatter(_formatter(style, stream, environment or os.environ))
    logging.basicConfig(level=level.upper(), handlers=[writer], force=True)
    # The servers' own start and stop lines say nothing that ours do not.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _formatter(style: Format, stream: TextIO, environment: Mapping[str, str]) -> logging.Formatter:
    if style == "json":
        return JsonFormatter()
    if _is_journal(stream, environment):
        return JournalFormatter()
    if style == "plain" or stream.isatty():
        return PlainFormatter()
    return JsonFormatter()


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether ``stream`` itself is connected to journald: ``JOURNAL_STREAM`` is its device:inode.

    The variable alone does not say so: children inherit it although their output goes elsewhere.
    """
    with contextlib.suppress(OSError, ValueError):
        status = os.fstat(stream.fileno())
        return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class PlainFormatter(logging.Formatter):
    """``TIME LEVEL logger: message key=value``; a traceback follows on lines of its own."""

    default_time_format = "%Y-%m-%d %H:%M:%S"

    def __init__(self, layout: str = "%(asctime)s %(levelname)s %(name)s: %(message)s") -> None:
        super().__init__(layout)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        """Return the line, with the extra fields after the message."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        # One record is one line: what a producer put into a field cannot forge another.
        return (super().formatMessage(record) + fields).replace("\r", "\\r").replace("\n", "\\n")


class JournalFormatter(PlainFormatter):
    """Plain without the time, each line with its priority (``<6>``) as journald reads it."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, each of its lines with its priority."""
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the extra fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields(record).items():
            entry.setdefault(name, value)
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
