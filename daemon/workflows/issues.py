"""What a careful reader finds wrong with a workflow file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

ISSUES_MAX: Final = 200
"""More issues than this of one file are only counted."""

ERROR: Final = "error"
"""What is written is not what will happen."""
WARNING: Final = "warning"
"""It works, but perhaps not as its author thinks."""


class Issue(NamedTuple):
    """One finding; ``phase`` is the index of the phase, None where the file as a whole is meant."""

    code: str
    severity: str
    message: str
    phase: int | None = None

    def document(self) -> dict[str, Any]:
        """Return it as it stands in an event."""
        told: dict[str, Any] = {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
        }
        return told if self.phase is None else {**told, "phase": self.phase}


class Issues:
    """Findings as they are made; `found` has them in the order of the phases, and bounded."""

    def __init__(self) -> None:
        self._issues: list[Issue] = []

    def error(self, code: str, message: str, phase: int | None = None) -> None:
        """Note an error."""
        self._issues.append(Issue(code, ERROR, message, phase))

    def warning(self, code: str, message: str, phase: int | None = None) -> None:
        """Note a warning."""
        self._issues.append(Issue(code, WARNING, message, phase))

    def found(self) -> tuple[Issue, ...]:
        """Return the findings: of the file as a whole first, then phase by phase."""
        ordered = sorted(self._issues, key=_place)
        if len(ordered) <= ISSUES_MAX:
            return tuple(ordered)
        kept, rest = ordered[: ISSUES_MAX - 1], ordered[ISSUES_MAX - 1 :]
        severity = ERROR if has_errors(rest) else WARNING
        return *kept, Issue("more_issues", severity, f"and {len(rest)} more issues")


def has_errors(issues: Iterable[Issue]) -> bool:
    """Return whether one of them is an error."""
    return any(issue.severity == ERROR for issue in issues)


def _place(issue: Issue) -> int:
    return -1 if issue.phase is None else issue.phase
