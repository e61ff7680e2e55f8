"""The time that a task of flowlord is about, as its messages name it.

The hour or day whose data it works on: not when it ran.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

_DAY: Final = r"\d{4}-\d{2}-\d{2}"
_NAMED: Final = (
    (
        re.compile(rf"(?:day|date|time|timestamp)[=:]({_DAY}T\d{{2}}:\d{{2}}:\d{{2}}Z)"),
        "%Y-%m-%dT%H:%M:%SZ",
    ),
    (re.compile(rf"(?:date|hour|hour_utc)[=:]({_DAY}T\d{{2}})"), "%Y-%m-%dT%H"),
    (re.compile(rf"(?:day|date)[=:]({_DAY})"), "%Y-%m-%d"),
    (re.compile(r"(\d{8}T\d{6})"), "%Y%m%dT%H%M%S"),
    (re.compile(r"(?<!\d)(\d{4}/\d{2}/\d{2}/\d{2})(?!\d)"), "%Y/%m/%d/%H"),
    (re.compile(r"(?<!\d)(\d{4}/\d{2}/\d{2})(?!\d)"), "%Y/%m/%d"),
    (re.compile(rf"(?<!\d)({_DAY})(?!\d)"), "%Y-%m-%d"),
    (re.compile(r"(?<!\d)(\d{4}/\d{2})(?!\d)"), "%Y/%m"),
)
"""What to look for in an instruction, in this order, and how it is read."""
_CRON: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}", re.ASCII)


def task_time(info: str, cron: str = "") -> datetime | None:
    """Return the time, in UTC; None where neither the schedule nor the instruction names one."""
    return next(_named_times(info, cron), None)


def _named_times(info: str, cron: str) -> Iterator[datetime]:
    if _CRON.fullmatch(cron):
        yield from _read(cron, "%Y-%m-%dT%H")
    for pattern, form in _NAMED:
        match = pattern.search(info)
        if match is not None:
            yield from _read(match[1], form)


def _read(text: str, form: str) -> Iterator[datetime]:
    try:
        yield datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return
