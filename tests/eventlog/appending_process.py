"""A process that appends one event after another and prints each acknowledgement; to be killed.

    python appending_process.py PATH FIRST COUNT

A line is ``ack NUMBER POSITION``, or ``error NUMBER CODE`` where the append failed.
"""

from __future__ import annotations

import sys

from daemon.eventlog.log import EventLog
from domain.errors import ChronicledError
from domain.events import NewEvent


def main(path: str, first: str, count: str) -> None:
    """Append `count` events from number `first` on."""
    log = EventLog.open(path)
    log.start()
    for number in range(int(first), int(first) + int(count)):
        data = b'{"text":"%s"}' % (b"x" * (number * 97 % 5000))
        try:
            receipt = log.append(
                [NewEvent("job.progressed", f"j{number % 3}", "/t", f"e{number}", data)]
            ).receipts[0]
        except ChronicledError as error:
            answer = f"error {number} {error.code}"
        else:
            answer = f"ack {number} {receipt.position}"
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
