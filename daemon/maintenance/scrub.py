"""Verifies the log and the views in a process of its own, and looks at the files of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from daemon.maintenance.results import ResultCheck
from daemon.maintenance.task import Outcome, Stopping
from domain.errors import NotReady

_TOLD: Final = 3
"""How many findings a message names."""

Progress = Callable[[int, int], None]
Verify = Callable[[Progress], Mapping[str, Any]]
"""Verifies log and views; returns the document of the report."""


class ScrubTask:
    """The task ``scrub``; without a ``results`` no files are looked at."""

    name = "scrub"
    summary = "Verify the log and the views, and look whether result files are as recorded."

    def __init__(self, verify: Verify, results: ResultCheck | None, stopping: Stopping) -> None:
        self._verify = verify
        self._results = results
        self._stopping = stopping

    def run(self, now: int) -> Outcome:
        """Do both; findings make it a failed run."""
        report = self._verify(self._watch)
        findings = report["findings"]
        counts = {"events": report["events"], "findings": len(findings)}
        if self._results is not None:
            counts |= self._results.run(now)
        message = None
        if findings:
            told = "; ".join(_told(each) for each in findings[:_TOLD])
            message = f"{len(findings)} findings: {told}"
        return Outcome(counts, message, complete=not self._stopping(), ok=not findings)

    def _watch(self, done: int, total: int) -> None:  # noqa: ARG002
        if self._stopping():
            raise NotReady("The daemon is stopping.")


def _told(finding: Mapping[str, Any]) -> str:
    place = "" if finding.get("position") is None else f" at position {finding['position']}"
    return f"{finding['kind']}{place}: {finding['detail']}"
