"""Background services: steps that are driven, on a thread or by hand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest
from waiting import wait_until

from daemon.lifecycle import ServiceThread, system_clock


class Counter:
    """A service that runs ``work`` in each step and keeps the times it was given."""

    name = "counter"

    def __init__(self, work: Callable[[int], float | None]) -> None:
        self.woken = threading.Event()
        self.steps: list[int] = []
        self._work = work

    def step(self, now: int) -> float | None:
        """Note the time and do the work."""
        self.steps.append(now)
        return self._work(len(self.steps))


def test_steps_follow_at_once_while_there_is_work() -> None:
    """A step that answers 0 is followed by the next; one that answers None waits to be woken."""
    service = Counter(lambda n: 0 if n < 5 else None)
    thread = ServiceThread(service, lambda: 42)
    thread.start()
    wait_until(lambda: len(service.steps) == 5, "five steps")
    service.woken.set()
    wait_until(lambda: len(service.steps) == 6, "a sixth step after the wake")
    assert thread.stop(10)
    assert set(service.steps) == {42}
    assert not thread.alive


def test_a_wake_during_a_step_is_not_lost() -> None:
    """Work that arrives while a step runs leads to another step."""
    entered, leave = threading.Event(), threading.Event()

    def work(number: int) -> float | None:
        if number == 1:
            entered.set()
            leave.wait(10)
        return None

    service = Counter(work)
    thread = ServiceThread(service, system_clock)
    thread.start()
    assert entered.wait(10)
    service.woken.set()
    leave.set()
    wait_until(lambda: len(service.steps) == 2, "a second step")
    assert thread.stop(10)


def test_a_failing_step_is_logged_counted_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """An exception ends neither the thread nor what it does; a wake does not cut the rest."""

    def work(number: int) -> float | None:
        if number < 4:
            raise ValueError(f"failure {number}")
        return None

    service = Counter(work)
    thread = ServiceThread(service, system_clock, backoff_seconds=0.001)
    with caplog.at_level(logging.ERROR):
        thread.start()
        wait_until(lambda: len(service.steps) == 4, "the step after three failures")
    assert thread.stop(10)
    assert thread.failures == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"counter failed; it goes on in {rest} s" for rest in ("0.001", "0.002", "0.004")
    ]


def test_stop_ends_a_thread_that_rests_after_a_failure() -> None:
    """The rest after a failure does not hold up a stop."""

    def work(_: int) -> float | None:
        raise ValueError

    service = Counter(work)
    thread = ServiceThread(service, system_clock, backoff_seconds=1000)
    thread.start()
    wait_until(lambda: thread.failures == 1, "a failure")
    assert thread.stop(10)


def test_stop_says_when_a_step_does_not_end() -> None:
    """A stop is bounded by its timeout, and tells that the thread is still in a step."""
    leave = threading.Event()

    def work(_: int) -> float | None:
        leave.wait(30)
        return None

    service = Counter(work)
    thread = ServiceThread(service, system_clock)
    thread.start()
    wait_until(lambda: service.steps, "the step begins")
    assert not thread.stop(0)
    leave.set()
    assert thread.stop(10)


def test_stop_before_the_start_does_no_harm() -> None:
    """A service that was never started can be stopped."""
    assert ServiceThread(Counter(lambda _: None), system_clock).stop()
