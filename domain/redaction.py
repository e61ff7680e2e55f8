"""Taking a value out of a recorded payload, so that what is left still fits the event's type.

It follows from the payload, the type and the pointer alone: who does it again gets the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from domain.catalog import find_type, upcast_payload
from domain.errors import Fault, Invalid
from domain.faults import is_valid
from domain.suggest import did_you_mean, shorten

REDACTED: Final = "log.redacted"
"""The type of the event that says what was taken out, and why."""
MASK: Final = "[redacted]"
"""What stands in the place of a text."""
_ROOT: Final = "/data"
_WRONG_TILDE: Final = re.compile(r"~(?![01])")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_GONE: Final = object()
_NAMES: Final = 40
_NAME: Final = 80
"""So many names, each of such a length, are compared with one that is not there."""


def redacted(type_: str, class_version: int, data: bytes, pointer: str) -> bytes | None:
    """Return a payload without the value at a pointer; None where that is redacted already.

    A text becomes ``[redacted]``; what may not be that becomes null, or is left out.

    Raises:
        Invalid: the pointer is none, or leads nowhere; or the type needs what is there.

    """
    entry = find_type(type_)
    if entry is None or class_version > entry.class_version:
        raise _refused(f"{shorten(type_)} is a type of a newer release", pointer)
    steps = parse_pointer(pointer)
    value = _find(orjson.loads(data), steps, pointer)
    if value in (None, MASK):
        return None
    for replacement in (MASK, None, _GONE) if isinstance(value, str) else (None, _GONE):
        payload = orjson.loads(data)
        if not _replace(payload, steps, replacement):
            continue
        lifted = upcast_payload(entry.model, class_version, payload)
        if is_valid(entry.model, lifted):
            return orjson.dumps(payload)
    raise _refused(f"{type_} needs a value of this kind here, so it cannot be taken out", pointer)


def value_at(data: bytes, pointer: str) -> Any:
    """Return the value at a pointer.

    Raises:
        Invalid: the pointer is none, or leads nowhere.

    """
    return _find(orjson.loads(data), parse_pointer(pointer), pointer)


def parse_pointer(pointer: str) -> list[str]:
    """Return the steps of a JSON pointer (RFC 6901) that leads below ``/data``.

    Raises:
        Invalid: it is none, or leads elsewhere.

    """
    if not pointer.startswith(f"{_ROOT}/"):
        raise _refused(f"the pointer has to begin with {_ROOT}/", pointer)
    if wrong := _WRONG_TILDE.search(pointer):
        detail = f"column {wrong.start() + 1}: ~ is written ~0 in a JSON pointer, and / is ~1"
        raise _refused(detail, pointer)
    parts = pointer.removeprefix(f"{_ROOT}/").split("/")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value, in whatever depth."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _find(payload: Any, steps: list[str], pointer: str) -> Any:
    value = payload
    for at, step in enumerate(steps):
        place = pointer.split("/")[: at + 3]
        if isinstance(value, dict):
            if step not in value:
                known = did_you_mean(step, [name[:_NAME] for name in list(value)[:_NAMES]])
                detail = f"there is nothing at {shorten('/'.join(place))}; {known}"
                raise _refused(detail, pointer)
            value = value[step]
        elif isinstance(value, list):
            if not _INDEX.fullmatch(step) or int(step) >= len(value):
                detail = f"{shorten(step)} is no index of an array of {len(value)}"
                raise _refused(f"there is nothing at {shorten('/'.join(place))}: {detail}", pointer)
            value = value[int(step)]
        else:
            detail = f"{shorten('/'.join(place[:-1]))} is neither an object nor an array"
            raise _refused(detail, pointer)
    return value


def _replace(payload: Any, steps: list[str], replacement: object) -> bool:
    """Replace a value that is there; return whether that can be done."""
    parent = payload
    for step in steps[:-1]:
        parent = parent[int(step) if isinstance(parent, list) else step]
    last = steps[-1]
    if isinstance(parent, list):
        if replacement is _GONE:
            # The places of what comes after it are not to change.
            return False
        parent[int(last)] = replacement
    elif replacement is _GONE:
        del parent[last]
    else:
        parent[last] = replacement
    return True


def _refused(detail: str, pointer: str) -> Invalid:
    return Invalid(detail, errors=[Fault(detail, pointer)])
