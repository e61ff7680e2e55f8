"""Waiting on a condition until a deadline: the tests never sleep for a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
import pytest

T = TypeVar("T")

VIEWS_SECONDS = 20.0
"""How long a question that names the position it has to show waits for the views."""


def patiently(request: httpx.Request) -> None:
    """Have a question wait for its position as long as a busy machine may take: a request hook.

    By itself it would wait five seconds. One that says how long waits so long.
    """
    if "wait_for" in request.url.params and "timeout" not in request.url.params:
        request.url = request.url.copy_merge_params({"timeout": VIEWS_SECONDS})


def wait_until(condition: Callable[[], T], what: str, *, seconds: float = 20.0) -> T:
    """Return the first true value of ``condition``; fail, naming ``what``, at the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        pause.wait(0.01)
    return value
