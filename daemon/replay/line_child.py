"""Reads and checks the lines of an export in a process of its own, for the one that writes them."""

from __future__ import annotations

import marshal
import os
import pickle
import signal
import struct
import sys
from collections.abc import Generator
from typing import IO, Any, Final

from daemon.child_process import start_child
from daemon.lifecycle import settle_collector
from daemon.replay.bounds import Header
from daemon.replay.lines import Batch, read_batches
from domain.errors import ChronicledError, StorageFailed
from domain.historic import HistoricEvent

_SIZES: Final = struct.Struct("!QQ")
"""Before each answer: how long its events are, and what is beside them."""


def batches_of(file: IO[bytes]) -> Generator[Header | Batch, None, None]:
    """Yield what `read_batches` yields, read by a child; the file is the child's from here on."""
    reading, writing = os.pipe()
    # The child's own standard input is another one.
    given = (os.dup(file.fileno()), writing)
    with os.fdopen(reading, "rb") as answers:
        try:
            child = start_child("daemon.replay.line_child", given, given)
        finally:
            for descriptor in given:
                os.close(descriptor)
        try:
            while len(head := answers.read(_SIZES.size)) == _SIZES.size:
                sizes = _SIZES.unpack(head)
                events, rest = map(answers.read, sizes)
                if (len(events), len(rest)) != sizes:
                    break
                answer: Any = pickle.loads(rest)  # noqa: S301  our own child
                if isinstance(answer, ChronicledError):
                    raise answer
                found: Any = marshal.loads(events)  # noqa: S302
                yield answer if type(answer) is Header else (found, answer)
        finally:
            child.kill()
            child.wait()
    raise StorageFailed("the process that reads the export ended early")


def main() -> int:
    """Read the file of the first descriptor, and write batches to the second, until the end."""
    # Ctrl-C is for whoever asked, who then goes away.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle_collector()
    source, target = map(int, sys.argv[1:3])
    with os.fdopen(source, "rb") as file, os.fdopen(target, "wb") as answers:
        try:
            try:
                for batch in read_batches(file):
                    _send(answers, *(([], batch) if isinstance(batch, Header) else batch))
            except ChronicledError as error:
                _send(answers, [], error)
        except BrokenPipeError:
            # Whoever asked has gone.
            return 1
    return 0


def _send(answers: IO[bytes], events: list[HistoricEvent], rest: object) -> None:
    # As plain tuples, and without looking for what repeats, this takes a quarter of the time.
    body, other = marshal.dumps([tuple(event) for event in events], 2), pickle.dumps(rest, 5)
    answers.write(_SIZES.pack(len(body), len(other)) + body + other)
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
