"""Errors on their way from the process of the backup to the daemon."""

from __future__ import annotations

from typing import Any, Final

from daemon.backup import errors
from domain import errors as common
from domain.errors import ChronicledError

_KNOWN: Final[dict[str, type[ChronicledError]]] = {
    each.code: each
    for module in (common, errors)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, ChronicledError)
}


def message_of(error: ChronicledError) -> dict[str, Any]:
    """Return an error as it is sent."""
    return {"error": error.code, "detail": error.detail, "hint": error.operator_hint}


def error_of(message: dict[str, Any]) -> ChronicledError:
    """Return the error of a message."""
    known = _KNOWN.get(message["error"], errors.BackupError)
    return known(message["detail"], hint=message["hint"])
