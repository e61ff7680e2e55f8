"""Why an event cannot be appended where it is: the errors of a transaction."""

from __future__ import annotations

from domain.errors import Fault, Invalid, VersionConflict


def conflict_of(index: int, stream: str, version: int, expected: int) -> VersionConflict:
    """Return the error of an event whose stream is at another version than it expects."""
    detail = f"{stream} is at version {version}, not {expected}"
    fault = Fault(detail, "/expectedversion", index, VersionConflict.code)
    return VersionConflict(detail, errors=[fault])


def misplaced(index: int, name: str, detail: str) -> Invalid:
    """Return the error of a historic event that does not follow from what is before it."""
    detail = f"{name} {detail}"
    return Invalid(detail, errors=[Fault(detail, f"/{name}", index)])
