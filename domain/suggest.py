"""The nearest known name to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_LONGEST: Final = 80
"""Longer words are cut before they are compared: the comparison is quadratic in their length."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name most like ``word``, or None when none is at all like it."""
    matches = get_close_matches(word[:_LONGEST].lower(), list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest one, else all of them."""
    names = sorted(known)
    match = nearest(word, names)
    if match is not None:
        return f"did you mean {match!r}?"
    return f"known are: {', '.join(names)}"


def shorten(text: str) -> str:
    """Return ``text`` as it can be shown in an error: quoted, escaped, and never long."""
    return repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
