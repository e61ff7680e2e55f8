"""What every peer's script has in common: the events, the clock, and the report.

Only the standard library is used here: the scripts also run with another interpreter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event as a peer stores it: the structured JSON is the data."""

    stream: str
    version: int
    id: str
    type: str
    data: str


Figures = dict[str, float]


def arguments(description: str | None) -> argparse.Namespace:
    """Read the arguments that every script takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--events", type=Path, required=True, help="NDJSON, one event a line")
    parser.add_argument("--seconds", type=float, required=True, help="how long each load lasts")
    parser.add_argument("--at", default="", help="where the server is")
    parser.add_argument("--scratch", type=Path, required=True, help="an empty directory")
    return parser.parse_args()


def events_of(path: Path) -> Iterator[Event]:
    """Yield the events; versions count within a stream."""
    versions: dict[str, int] = {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        stream = event["type"].partition(".")[0] + "/" + event["subject"]
        versions[stream] = versions.get(stream, 0) + 1
        yield Event(stream, versions[stream], event["id"], event["type"], line)


def batches(events: Sequence[Event], size: int) -> list[list[Event]]:
    """Cut the events into batches."""
    return [list(events[at : at + size]) for at in range(0, len(events), size)]


def report(figures: Figures) -> None:
    """Hand the figures to the suite."""
    print(json.dumps(figures))


def in_turn(work: Callable[[Any], object], items: Sequence[Any], seconds: float) -> list[float]:
    """Do the work for one item after the other; return how long each took."""
    return _worker(work, iter(items), time.perf_counter() + seconds)


def _worker(work: Callable[[Any], object], items: Iterator[Any], until: float) -> list[float]:
    took = []
    for item in items:
        started = time.perf_counter()
        if started > until:
            break
        work(item)
        took.append(time.perf_counter() - started)
    return took


class _Shared:
    """An iterator that several threads may take from."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items, self._lock = iter(items), threading.Lock()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            return next(self._items)


def in_threads(
    work: Callable[[Any], object], items: Sequence[Any], seconds: float, count: int
) -> tuple[float, list[float]]:
    """Do the work on several threads; return the seconds in all, and how long each item took."""
    took: list[float] = []
    shared = _Shared(items)
    started = time.perf_counter()
    threads = [
        threading.Thread(target=lambda: took.extend(_worker(work, shared, started + seconds)))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, took


async def in_tasks(
    work: Callable[[int, Any], Awaitable[object]], items: Sequence[Any], seconds: float, count: int
) -> tuple[float, list[float]]:
    """Do the work in several tasks, which know their number; return as `in_threads` does."""
    took: list[float] = []
    shared = iter(items)
    started = time.perf_counter()

    async def client(number: int) -> None:
        for item in shared:
            begun = time.perf_counter()
            if begun - started > seconds:
                return
            await work(number, item)
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(client(number) for number in range(count)))
    return time.perf_counter() - started, took


def figures_of(name: str, elapsed: float, took: list[float], batch: int = 1) -> Figures:
    """Return the rate and the latencies under a name."""
    ordered = sorted(took)
    return {
        f"{name} events/s": len(ordered) * batch / elapsed,
        f"{name} p50 ms": ordered[len(ordered) // 2] * 1000,
        f"{name} p99 ms": ordered[len(ordered) * 99 // 100] * 1000,
    }
