"""What a command says when it cannot do what was asked: one clear error, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Self

import httpx
import orjson

from daemon.cli.output import visible
from domain.errors import ChronicledError, Fault

SHOWN_FAULTS_MAX = 20
"""So many faults of one request are printed; the rest is counted."""


class CommandError(Exception):
    """The command ends here, with this error on stderr and this exit code."""

    def __init__(
        self,
        title: str,
        detail: str,
        *,
        hint: str = "",
        faults: Sequence[Fault] = (),
        exit_code: int = 1,
        status: int = 0,
        code: str = "",
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.title = title
        self.detail = detail
        self.hint = hint
        self.faults = tuple(faults)
        self.exit_code = exit_code
        self.status = status
        """The HTTP status of the daemon's answer; 0 when it is not an answer."""
        self.code = code
        """The stable code of the error, where it has one."""

    @classmethod
    def of_error(cls, error: ChronicledError) -> Self:
        """Return the failure that an error of our own code means for a command."""
        return cls(
            error.title,
            error.detail,
            hint=error.operator_hint,
            faults=error.errors,
            exit_code=error.exit_code,
            code=error.code,
        )

    @classmethod
    def of_system(cls, error: OSError) -> Self:
        """Return the failure that the operating system's refusal means."""
        denied = isinstance(error, PermissionError)
        hint = "Run it as the daemon's user, or ask the daemon by --socket or --url."
        place = error.filename or "the system gave no place"
        return cls(error.strerror or str(error), str(place), hint=hint if denied else "")

    @classmethod
    def of_answer(cls, response: httpx.Response) -> Self:
        """Return the failure that an HTTP answer tells: problem details, or whatever it says."""
        try:
            problem = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            problem = None
        if not isinstance(problem, dict):
            problem = {"detail": response.text[:500] or response.reason_phrase}
        return cls.of_problem({"status": response.status_code} | problem)

    @classmethod
    def of_problem(cls, problem: dict[str, Any]) -> Self:
        """Return the failure that problem details tell (RFC 9457)."""
        status = problem["status"]
        return cls(
            str(problem.get("title") or f"HTTP {status}"),
            str(problem.get("detail") or "the daemon gave no reason"),
            hint=str(problem.get("hint") or ""),
            faults=_faults(problem.get("errors")),
            status=status if isinstance(status, int) else 0,
            code=str(problem.get("code") or ""),
        )

    def show(self) -> None:
        """Print the error on stderr: title, detail, the faults with their places, the hint."""
        lines = [f"Error: {self.title}: {self.detail}"]
        lines += [f"  {_place(fault)}{fault.detail}" for fault in self.faults[:SHOWN_FAULTS_MAX]]
        if len(self.faults) > SHOWN_FAULTS_MAX:
            lines.append(f"  and {len(self.faults) - SHOWN_FAULTS_MAX} more")
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        for line in lines:
            print(visible(line), file=sys.stderr)


def needs_daemon(command: str, place: str, *, hint: str) -> CommandError:
    """Return the failure of a command that cannot work without a running daemon."""
    return CommandError(
        "No daemon", f"`{command}` needs a running daemon, and none runs on {place}", hint=hint
    )


def _faults(items: Any) -> list[Fault]:
    """Return the faults of a problem; a place is a pointer or a parameter's name."""
    return [
        Fault(
            str(item.get("detail", "")),
            pointer=str(item.get("pointer") or item.get("parameter") or ""),
            index=item["index"] if isinstance(item.get("index"), int) else None,
        )
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict)
    ]


def _place(fault: Fault) -> str:
    event = "" if fault.index is None else f"event {fault.index}"
    place = " ".join(part for part in (event, fault.pointer) if part)
    return f"{place}: " if place else ""
