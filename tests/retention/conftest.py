"""Fixtures of the tests of retention."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from keeping import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Return a log with retention and no policy."""
    with Kept(tmp_path) as found:
        yield found
