"""PostgreSQL through asyncpg: one row a transaction, and a hundred through unnest."""

from __future__ import annotations

import asyncio

import asyncpg

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

ONE = "INSERT INTO events(stream, version, id, type, data) VALUES ($1, $2, $3, $4, $5)"
MANY = (
    "INSERT INTO events(stream, version, id, type, data) "
    "SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[])"
)


async def measure(at: str, events: list[Event], seconds: float) -> Figures:
    """Insert with 64 connections one by one, then with 8 by the hundred, then with one."""
    connections = [
        await asyncpg.connect(host=at, user="bench", database="postgres") for _ in range(64)
    ]
    single = [await connection.prepare(ONE) for connection in connections]
    several = [await connection.prepare(MANY) for connection in connections[:8]]

    async def one(number: int, event: Event) -> None:
        await single[number].fetch(*event)

    async def many(number: int, part: list[Event]) -> None:
        await several[number].fetch(*zip(*part, strict=True))

    third = len(events) // 3
    took = await in_tasks(one, events[:third], seconds, 64)
    figures = figures_of("asyncpg, 64 clients", *took)
    took = await in_tasks(many, batches(events[third : 3 * third - third // 4], 100), seconds, 8)
    figures |= figures_of("asyncpg, 8 clients x 100", *took, 100)
    took = await in_tasks(one, events[3 * third - third // 4 :], seconds / 2, 1)
    figures |= figures_of("asyncpg, 1 client", *took)
    for connection in connections:
        await connection.close()
    return figures


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__)
    report(asyncio.run(measure(options.at, list(events_of(options.events)), options.seconds)))


if __name__ == "__main__":
    main()
