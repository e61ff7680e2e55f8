"""Waiting on a condition until a deadline: the tests never sleep for a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, seconds: float = 20.0) -> T:
    """Return the first true value of ``condition``; fail, naming ``what``, at the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        pause.wait(0.01)
    return value
