"""A NATS JetStream on file storage: acknowledged, but not flushed with every message."""

from __future__ import annotations

import asyncio

import nats

from benchmarks.peers.timing import (
    Event,
    Figures,
    arguments,
    events_of,
    figures_of,
    in_tasks,
    report,
)


async def measure(at: str, events: list[Event], seconds: float) -> Figures:
    """Publish with 64 messages in flight over 8 connections, then one by one."""
    connections = [await nats.connect(at) for _ in range(8)]
    streams = [connection.jetstream() for connection in connections]
    await streams[0].add_stream(name="events", subjects=["events.>"])

    async def one(number: int, event: Event) -> None:
        await streams[number % 8].publish("events.job", event.data.encode())

    half = len(events) // 2
    figures = figures_of(
        "NATS JetStream, 64 in flight", *await in_tasks(one, events[:half], seconds, 64)
    )
    figures |= figures_of(
        "NATS JetStream, 1 client", *await in_tasks(one, events[half:], seconds / 2, 1)
    )
    for connection in connections:
        await connection.close()
    return figures


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__)
    report(asyncio.run(measure(options.at, list(events_of(options.events)), options.seconds)))


if __name__ == "__main__":
    main()
