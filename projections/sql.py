"""The named statements of a ``.sql`` file, with the prefix of the tables they are for.

A statement stands below a line ``-- name: what_it_does``. ``${g}`` in it is the prefix of the
tables: empty for the live ones, ``g7_`` for those of a build.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def named_statements(file_name: str, prefix: str = "") -> dict[str, str]:
    """Return the statements of a file of this package by their names."""
    parts = _NAME.split((Path(__file__).parent / file_name).read_text())
    return {
        name: text.strip().rstrip(";").replace("${g}", prefix)
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }
