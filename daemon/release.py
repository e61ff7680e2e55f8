"""The release of this program, and which of two releases is the newer one."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Final

PROGRAM_VERSION: Final = version("chronicled")
"""The version of this program."""

_PARTS: Final = re.compile(r"(\d+(?:\.\d+)*)[-._]?(?:(dev|a|b|rc)[-._]?(\d*))?")
_STAGES: Final = ("dev", "a", "b", "rc", None)


def release_order(release: str) -> tuple[tuple[int, ...], int, int]:
    """Return what releases are ordered by: 0.9 < 0.10rc1 < 0.10 = 0.10.0; nonsense is oldest."""
    found = _PARTS.match(release)
    if found is None:
        return (), 0, 0
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), _STAGES.index(found[2]), int(found[3] or 0)
