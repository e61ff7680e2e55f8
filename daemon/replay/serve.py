"""A read-only daemon over one moment of the past: the same interface, and nothing can change."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import uvloop

from daemon.api.app import create_app
from daemon.api.context import Context
from daemon.archive.opening import reader_at_rest
from daemon.listeners import Listeners, bind
from daemon.replay.checkpoints import Checkpoints
from daemon.replay.history import moments_at_rest
from daemon.replay.resting import RestingLog, RestingProjector
from daemon.server import Server
from daemon.settings import Address
from projections.views import Views

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog


def serve_moment(
    log: RestingLog,
    views_path: Path,
    address: Address,
    checkpoints: Checkpoints | None,
    ready: Callable[[Listeners], None],
) -> None:
    """Serve the views of a moment, and the log up to it, until SIGTERM or SIGINT.

    Raises:
        Unavailable: the address cannot be listened on.

    """
    with ExitStack() as stack:
        sockets = Path(stack.enter_context(TemporaryDirectory(prefix="chronicled-")))
        views = Views(views_path)
        stack.callback(views.close)
        moments = stack.enter_context(moments_at_rest(log, views_path, checkpoints))
        context = Context(
            log=cast("EventLog", log),
            views=views,
            runner=RestingProjector(views),
            names=(address.host,),
            moments=moments,
            archived=reader_at_rest(Path(log.path).parent, log),
            readonly=True,
        )
        stack.callback(context.close)
        listeners = bind(address, sockets / "http")
        stack.callback(listeners.close)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(context, listeners, ready))


async def _serve(
    context: Context, listeners: Listeners, ready: Callable[[Listeners], None]
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(create_app(context), listeners.sockets)
    try:
        await server.listening()
        ready(listeners)
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({waiting, server.task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    finally:
        context.drain()
        await server.stop()
