"""Bugs that are planted to see that a simulation finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def planted(name: str) -> Iterator[dict[str, Any]]:
    """Plant a bug while this lasts; yields options of the world."""
    yield {}
