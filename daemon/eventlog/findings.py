"""What verification found, bounded: runs of one fault are one finding, and the rest is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import apsw

from daemon.eventlog.requests import Finding

FINDINGS_MAX: Final = 100
"""How many findings one part of a verification lists; more of them are counted."""

UNREADABLE: Final = (apsw.Error, UnicodeDecodeError)
"""What reading damaged rows raises; a text that is not UTF-8 cannot become one of Python's."""


@dataclass(slots=True)
class _Run:
    kind: str
    detail: str
    position: int | None
    last: int | None


class Findings:
    """Collects findings; the same fault at positions that follow one another is one of them."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._more = 0

    def add(self, kind: str, detail: str, position: int | None = None) -> None:
        """Add a finding."""
        for run in self._runs[-2:]:
            if (
                position is not None
                and run.last == position - 1
                and (run.kind, run.detail) == (kind, detail)
            ):
                run.last = position
                return
        if len(self._runs) < FINDINGS_MAX:
            self._runs.append(_Run(kind, detail, position, position))
        else:
            self._more += 1

    def list(self) -> list[Finding]:
        """Return the findings, in the order in which they came."""
        found = [
            Finding(
                run.kind,
                run.detail
                if run.last == run.position
                else f"{run.detail} (and so on to position {run.last})",
                run.position,
            )
            for run in self._runs
        ]
        if self._more:
            found.append(Finding("more", f"{self._more} more findings are not listed"))
        return found


def told(error: Exception) -> str:
    """Return what an error in reading says."""
    return "a text is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def raise_unless_damage(error: Exception) -> None:
    """Raise what says nothing about the file: somebody else holds it, or the reading was ended."""
    if isinstance(error, apsw.BusyError | apsw.LockedError | apsw.InterruptError):
        raise error
