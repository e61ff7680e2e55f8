"""Followers of the live stream: each reads on a thread of its own until it is closed."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Self

import apsw
import httpx

_POSITIONS: Final = (
    "SELECT e.position FROM events e JOIN types t USING (type_id) LEFT JOIN sources s"
    " USING (source_id) WHERE e.position > ?1 AND e.position <= ?2 AND t.application = ''"
    " AND (?3 IS NULL OR t.name = ?3) AND (?4 IS NULL OR s.name = ?4)"
)


class Follower:
    """One that reads ``/api/events/stream``; ``last`` is the newest position it was told of.

    It begins after a position, and may want one type or one source only. ``fault`` says what was
    wrong with what it was told; empty where nothing was.
    """

    def __init__(self, socket: str, after: int = 0, **wanted: str) -> None:
        transport = httpx.HTTPTransport(uds=socket)
        self._http = httpx.Client(transport=transport, base_url="http://localhost", timeout=None)
        self.wanted = wanted
        self._path = f"/api/events/stream?{httpx.QueryParams(after=after, **wanted)}"
        self._after = after
        self._seen = bytearray()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.last = after
        self.events = 0
        self.fault = ""

    def __enter__(self) -> Self:
        """Begin to follow."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End with the next line that comes; a heartbeat is one."""
        self._ended.set()
        self._http.close()

    def missed(self, log: Path) -> list[str]:
        """Return what it was not told of, up to ``last``, of all that a log at rest still has.

        What was removed meanwhile may have gone before it came to it.
        """
        asked = (self._after, self.last, self.wanted.get("type"), self.wanted.get("source"))
        with closing(apsw.Connection(str(log), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            rows: Any = db.execute(_POSITIONS, asked)
            gaps = [position for (position,) in rows if not self._was_told(position)]
        if not gaps:
            return []
        return [f"{self._path} told nothing of {len(gaps)} events, such as {gaps[0]}"]

    def _was_told(self, position: int) -> bool:
        at, bit = divmod(position - self._after, 8)
        return at < len(self._seen) and bool(self._seen[at] >> bit & 1)

    def _read(self) -> None:
        try:
            with self._http.stream("GET", self._path) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if self._ended.is_set():
                        return
                    if line.startswith("id:"):
                        self._take(int(line.removeprefix("id:")))
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            if not self._ended.is_set():
                self.fault = f"{self._path} ended: {error!r}"

    def _take(self, position: int) -> None:
        if position <= self.last:
            self.fault = self.fault or f"{self._path} told of {position} after {self.last}"
            return
        # A bit for each position: there are millions.
        at, bit = divmod(position - self._after, 8)
        self._seen.extend(bytes(max(0, at + 1 - len(self._seen))))
        self._seen[at] |= 1 << bit
        self.last = position
        self.events += 1
