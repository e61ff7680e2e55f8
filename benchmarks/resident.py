"""How much of the processes of a daemon is resident, over time."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

from benchmarks.children import arguments, memory

SAMPLE_SECONDS: Final = 1.0
WINDOW_SECONDS: Final = 600.0
"""The first and the last so much are compared, or thirds of a shorter run."""
STAYS: Final = 0.98
"""A process that is in so many of the samples stays; one that is started again stays too."""
MEGABYTE: Final = 1024 * 1024


class Resident:
    """Samples the resident memory of some processes on a thread of its own.

    What is compared is the median of a window, of the processes that are there all the time. Those
    that come and go (proofs, checkpoints, maintenance) are told of by the most that they took: how
    often one is met says how long its work is, not what it holds.
    """

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids
        self._samples: list[tuple[float, dict[str, int]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def newest(self) -> str:
        """Return the newest sample."""
        sizes = self._samples[-1][1]
        told = ", ".join(f"{name} {size / MEGABYTE:.1f}" for name, size in sorted(sizes.items()))
        return f"{sum(sizes.values()) / MEGABYTE:.1f} MB resident ({told})"

    def lines(self) -> list[str]:
        """Return what was seen of the processes that stay, in all and each, and the most of all."""
        first, last = self._windows()
        lines = [f"resident {_change(*self._lasting())} in the first and last window"]
        lines += [
            f"  {name}: {_change(_of(first, name), _of(last, name))}" for name in self._stay()
        ]
        lines.append(f"with those that come and go, at most {_change(_most(first), _most(last))}")
        return lines

    def growth_faults(self, most: float) -> list[str]:
        """Return a fault where the last window has more than ``most`` times the first."""
        before, after = self._lasting()
        grown = after / before
        return [f"resident memory grew by {grown - 1:.1%}"] if grown > most else []

    def _lasting(self) -> tuple[float, float]:
        """Return what the processes that stay took in the first window, and in the last."""
        names = self._stay()
        before, after = (
            statistics.median(sum(sizes.get(name, 0) for name in names) for sizes in window)
            for window in self._windows()
        )
        return before, after

    def _stay(self) -> list[str]:
        """Return the processes that are there in nearly every sample of both windows."""
        known = {name for window in self._windows() for sizes in window for name in sizes}
        return sorted(
            name
            for name in known
            if all(
                sum(name in sizes for sizes in window) >= STAYS * len(window)
                for window in self._windows()
            )
        )

    def _look(self) -> None:
        while True:
            sizes: dict[str, int] = {}
            for pid in self._pids():
                name = _name(pid)
                sizes[name] = sizes.get(name, 0) + memory([pid]).rss
            self._samples.append((time.monotonic(), sizes))
            if self._ended.wait(SAMPLE_SECONDS):
                return

    def _windows(self) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
        begun, ended = self._samples[0][0], self._samples[-1][0]
        window = min(WINDOW_SECONDS, (ended - begun) / 3)
        first = [sizes for at, sizes in self._samples if at <= begun + window]
        last = [sizes for at, sizes in self._samples if at >= ended - window]
        return first, last


def _name(pid: int) -> str:
    """Return which process of a daemon it is."""
    words = [word.decode(errors="replace") for word in arguments(pid)]
    named = [word for word in words if word == "daemon" or word.startswith("daemon.")]
    return named[0] if named else "other"


def _of(window: Sequence[dict[str, int]], name: str) -> float:
    return statistics.median(sizes.get(name, 0) for sizes in window)


def _most(window: Sequence[dict[str, int]]) -> float:
    return max(sum(sizes.values()) for sizes in window)


def _change(before: float, after: float) -> str:
    grown = after / before - 1 if before else 0.0
    return f"{before / MEGABYTE:.1f} and {after / MEGABYTE:.1f} MB ({grown:+.1%})"
