"""What the clients of the kill loop were told, and whether the log is just that.

A ledger has a line ``sent WINDOW REQUEST FIRST COUNT`` for each request before it is first sent,
``acknowledged REQUEST POSITION...`` when its answer came, and ``wrong ...`` for an answer that must
not be. The log is read by plain SQLite, without a line of the daemon's code.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from load_client import SOURCE, event

_QUERY = """
SELECT s.name, e.id, e.position, t.name, r.name, e.data
FROM events e
JOIN sources s USING (source_id) JOIN types t USING (type_id) JOIN streams r USING (stream_id)
WHERE s.name GLOB ? || '/*' ORDER BY e.position
"""

Found = dict[tuple[str, int], int]
"""The position of each event in the log, by client and serial number."""


@dataclass(slots=True)
class Request:
    """Some events that a client sent at once, and their positions if they were acknowledged."""

    window: int
    first: int
    count: int
    positions: list[int] = field(default_factory=list)

    def there(self, client: str, found: Found) -> list[int]:
        """Return the positions of those of its events that are in the log."""
        serials = range(self.first, self.first + self.count)
        return [found[client, serial] for serial in serials if (client, serial) in found]


@dataclass(slots=True)
class Tally:
    """How much was checked."""

    acknowledged: int = 0
    """Events that were acknowledged: all of them are there."""
    kept: int = 0
    """Events that nobody acknowledged and that are there."""
    gone: int = 0
    """Events that nobody acknowledged and that are not."""


def check(ledgers: Path, log: Path) -> Tally:
    """Assert that the log holds what the ledgers say, once and in order, and nothing else."""
    found = recorded(log)
    tally = Tally()
    sent = 0
    for ledger in sorted(ledgers.iterdir()):
        client, requests = ledger.name, read(ledger)
        sent += sum(each.count for each in requests)
        _check_client(client, requests, found, tally)
    assert tally.acknowledged + tally.kept == len(found), "nothing is there that nobody sent"
    assert tally.acknowledged + tally.kept + tally.gone == sent
    return tally


def recorded(log: Path) -> Found:
    """Return every event of the clients; no event is there twice, and each is as it was sent."""
    found: Found = {}
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as db:
        for source, id_, position, type_, stream, data in db.execute(_QUERY, (SOURCE,)):
            key = (source.removeprefix(f"{SOURCE}/"), int(id_))
            assert key not in found, f"{key} is at {found[key]} and again at {position}"
            sent = event(*key)
            assert (type_, stream.rpartition("/")[2]) == (sent["type"], sent["subject"]), key
            assert json.loads(data) == sent["data"], key
            found[key] = position
    return found


def read(ledger: Path) -> list[Request]:
    """Return the requests of a client in the order in which it first sent them."""
    requests: list[Request] = []
    for line in ledger.read_text().splitlines():
        word, *rest = line.split(" ")
        assert word != "wrong", f"{ledger.name}: {line}"
        numbers = [int(number) for number in rest]
        if word == "sent":
            window, number, first, count = numbers
            assert number == len(requests)
            requests.append(Request(window, first, count))
        else:
            number, *positions = numbers
            requests[number].positions = positions
    return requests


def _check_client(client: str, requests: list[Request], found: Found, tally: Tally) -> None:
    order: list[int] = []
    absent_window = 0
    for request in requests:
        there = request.there(client, found)
        order += there
        if request.positions:
            tally.acknowledged += request.count
            assert there == request.positions, f"{client}: acknowledged as {request}, is {there}"
        else:
            assert len(there) in (0, request.count), f"{client}: half of {request}"
            tally.kept += len(there)
            tally.gone += request.count - len(there)
        # Of requests that were sent together, the log takes the first ones.
        if not there:
            absent_window = request.window
        assert not there or request.window != absent_window, f"{client}: a hole before {request}"
    assert all(one < other for one, other in pairwise(order)), f"{client}: the order is kept"
