"""The log as the backup reads it: read-only, beside the daemon that writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from daemon.eventlog.chain import genesis
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.statements import named_statements
from domain.epochs import removals_stream, stream_of

SQL: Final = named_statements(Path(__file__).with_name("shipped_log.sql"))
_OWN: Final = "backup/"


class Decision(NamedTuple):
    """An event of the log that says what was removed from other events, or redacted in one.

    ``stretches`` are first and last positions.
    """

    position: int
    recorded: int
    stretches: tuple[tuple[int, int], ...]
    redacted: bool


class ShippedLog(LogFile):
    """A log's file, with what the backup asks of it.

    Raises:
        NewerSchema, LogDamaged, StorageFailed: this program cannot read it.

    """

    def digest_at(self, position: int) -> bytes | None:
        """Return the digest of the chain at a position; None where it is not known.

        That is where no event was, or where those around it were removed. At 0 it is that of an
        empty log.
        """
        if position == 0:
            return genesis(self.log_id)
        with self.pool.connection() as db:
            found: Any = db.execute(SQL["digest_exactly_at"], (position,)).get
        return found if isinstance(found, bytes) else None

    def contradicts(self, position: int, digest: str) -> bool:
        """Return whether another event is at a position than the one with a digest, or none yet."""
        found = self.digest_at(position)
        return position > self.head() if found is None else found.hex() != digest

    def agrees(self, position: int, digest: str) -> bool:
        """Return whether the event with a digest is at a position, or was removed with others."""
        found = self.digest_at(position)
        if found is not None:
            return found.hex() == digest
        with self.pool.connection() as db:
            return bool(db.execute(SQL["is_removed"], (position,)).get)

    def decisions(self) -> list[Decision]:
        """Return what was removed or redacted, in the order in which that was decided."""
        own = stream_of(self.log_id), removals_stream(self.log_id)
        with self.pool.connection() as db:
            rows: Any = db.execute(SQL["decisions"], own).fetchall()
        found = []
        for position, recorded, data in rows:
            said: Any = orjson.loads(data)
            if "runs" not in said:
                target = said["position"]
                found.append(Decision(position, recorded, ((target, target),), True))
            elif said.get("counts"):
                runs = tuple((each["from"], each["to"]) for each in said["runs"])
                found.append(Decision(position, recorded, runs, False))
        return found

    def count(self, first: int, last: int) -> int:
        """Return how many events there are at some positions."""
        with self.pool.connection() as db:
            return int(db.execute(SQL["count_between"], (first, last)).get or 0)

    def newest(self) -> tuple[int, int]:
        """Return the position of the newest event and the id of the newest dead letter."""
        with self.pool.snapshot() as db:
            events: Any = db.execute("SELECT max(position) FROM events").get
            letters: Any = db.execute("SELECT max(dead_letter_id) FROM dead_letters").get
        return events or 0, letters or 0

    def has_news(self, position: int) -> bool:
        """Return whether any event came after a position but the backup's own.

        Dead letters alone are none: a snapshot has the name of its position, and they are shipped.
        """
        with self.pool.connection() as db:
            sql = (
                "SELECT EXISTS (SELECT 1 FROM events e JOIN streams s USING (stream_id) "
                "WHERE e.position > ?1 AND NOT (s.application = '' AND "
                "substr(s.name, 1, length(?2)) = ?2))"
            )
            return bool(db.execute(sql, (position, _OWN)).get)
