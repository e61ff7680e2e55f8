"""Sizes as people read them."""

from __future__ import annotations


def readable(count: float) -> str:
    """Return a number of bytes for a person: ``812 B``, ``1.24 MB``."""
    units = iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while count >= 999.5 and unit != "TB":
        count, unit = count / 1_000, next(units, "TB")
    return f"{count:.3g} {unit}"
