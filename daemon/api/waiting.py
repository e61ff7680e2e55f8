"""``wait_for``: an answer that has to show a position waits until the views have reached it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from daemon.api.context import Context
from daemon.api.parameters import Reading
from domain.epochs import require_reached
from domain.errors import NotReady


async def wait_for_views(context: Context, asked: Reading, names: Collection[str]) -> None:
    """Wait until the projections of these names know the position that a read asks for.

    Raises:
        BeyondHead: the log itself does not have it.
        NotReady: they have not reached it in time, or have failed.

    """
    position = asked.wait_for
    if position is None:
        return
    await context.readers.run(require_reached, context.log, position)
    try:
        async with asyncio.timeout(asked.timeout):
            with context.projected.listen() as woken:
                while not context.runner.wait_for(position, 0, names):
                    _refuse_failed(context, names)
                    await woken.wait()
                    woken.clear()
    except TimeoutError:
        raise NotReady(
            f"The views have not reached position {position} within {asked.timeout:g} s."
        ) from None


def _refuse_failed(context: Context, names: Collection[str]) -> None:
    known = [status for status in context.runner.status() if status.name in names]
    if known and all(status.state == "failed" for status in known):
        raise NotReady(f"{known[0].name} failed at position {known[0].failed_position}.")
