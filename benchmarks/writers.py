"""A writer in a process of its own, for the price of the way there: events in, one byte back."""

from __future__ import annotations

import marshal
import struct
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import IO

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, Appended, Outcome
from domain.prepared import Prepared

HEAD = struct.Struct("<I")
DONE = b"."


def send(pipe: IO[bytes], events: Sequence[Prepared]) -> None:
    """Give a request to the process at the other end."""
    frame = marshal.dumps(list(events))
    pipe.write(HEAD.pack(len(frame)) + frame)
    pipe.flush()


def main() -> None:
    """Append what comes on standard input to the log that is named, until it ends."""
    asked, told = sys.stdin.buffer, sys.stdout.buffer

    def answer(outcome: Outcome) -> None:
        if not isinstance(outcome, Appended):
            raise SystemExit(repr(outcome))
        told.write(DONE)

    with closing(EventLog.open(sys.argv[1])) as log:
        log.on_group_end(told.flush)
        log.start()
        told.write(DONE)
        told.flush()
        while head := asked.read(HEAD.size):
            frame = asked.read(HEAD.unpack(head)[0])
            log.submit(Append(marshal.loads(frame)), answer)


if __name__ == "__main__":
    main()
