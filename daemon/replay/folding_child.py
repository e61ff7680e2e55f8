"""A process that folds whole streams of a log, and sends their rows to who builds the views."""

from __future__ import annotations

import marshal
import os
import queue
import signal
import sys
import threading
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from daemon.eventlog.log_file import LogFile
from daemon.lifecycle import settle_collector
from projections.registry import PROJECTIONS
from projections.whole import WholeProjection, fold_streams, ranges_of_streams

PARTS_AHEAD: Final = 2
"""How many parts wait to be sent, at the most."""


def main() -> None:
    """Do the work that comes as the first message over the socket named as the argument."""
    # An interrupt of the whole group is for the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = Connection(int(sys.argv[1]))
    try:
        work = marshal.loads(line.recv_bytes())  # noqa: S302  from our own parent
    except (EOFError, OSError):
        return
    waiting: queue.Queue[bytes] = queue.Queue(PARTS_AHEAD)
    threading.Thread(target=_send, args=(line, waiting), name="send", daemon=True).start()
    settle_collector()
    try:
        _fold(waiting, *work)
    except Exception as error:  # noqa: BLE001  the parent says it, and builds another way
        waiting.put(marshal.dumps(f"{type(error).__name__}: {error}"))
    # The parent says no more: what comes is that it has closed the line, or died.
    with suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(0)


def _fold(
    waiting: queue.Queue[bytes],
    log: str,
    names: list[str],
    last: int,
    upto: int,
    share: int,
    count: int,
) -> None:
    wanted: list[Any] = [each for each in PROJECTIONS if each.name in names]
    projections: list[WholeProjection] = wanted
    with closing(LogFile(Path(log))) as file:
        for number, (after, end) in enumerate(ranges_of_streams(last)):
            if number % count == share:
                for part in fold_streams(file, projections, after, end, upto):
                    waiting.put(marshal.dumps(tuple(part)))
                waiting.put(marshal.dumps(None))


def _send(line: Connection, waiting: queue.Queue[bytes]) -> None:
    """Send what waits, until the parent has gone: then nobody needs this process."""
    try:
        while True:
            line.send_bytes(waiting.get())
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main()
