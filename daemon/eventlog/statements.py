"""The named statements of a ``.sql`` file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def named_statements(path: Path) -> dict[str, str]:
    """Return the statements of a file by the name in the ``-- name:`` line above each."""
    parts = _NAME.split(path.read_text())
    return {
        name: text.strip().rstrip(";") for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


SQL: Final = named_statements(Path(__file__).with_name("statements.sql"))
"""The statements of the event log."""
