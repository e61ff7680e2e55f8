"""A Redis stream whose append-only file is flushed with every command."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from benchmarks.peers.timing import (
    Event,
    Figures,
    arguments,
    batches,
    events_of,
    figures_of,
    in_tasks,
    report,
)


async def measure(at: str, events: list[Event], seconds: float) -> Figures:
    """Add with 64 connections one by one, then with 8 by the hundred, then with one."""
    clients = [Redis(unix_socket_path=at) for _ in range(64)]
    for client in clients:
        await client.ping()

    async def one(number: int, event: Event) -> None:
        await clients[number].xadd("events", {"event": event.data})

    async def many(number: int, part: list[Event]) -> None:
        async with clients[number].pipeline(transaction=True) as pipeline:
            for event in part:
                pipeline.xadd("events", {"event": event.data})
            await pipeline.execute()

    third = len(events) // 3
    figures = figures_of("Redis, 64 clients", *await in_tasks(one, events[:third], seconds, 64))
    parts = batches(events[third : 2 * third], 100)
    figures |= figures_of("Redis, 8 clients x 100", *await in_tasks(many, parts, seconds, 8), 100)
    rest = events[2 * third :]
    figures |= figures_of("Redis, 1 client", *await in_tasks(one, rest, seconds / 2, 1))
    for client in clients:
        await client.aclose()
    return figures


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__)
    report(asyncio.run(measure(options.at, list(events_of(options.events)), options.seconds)))


if __name__ == "__main__":
    main()
