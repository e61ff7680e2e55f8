"""What was removed or redacted stays so in a log that comes back from older objects.

Objects of a backup hold the log as it was when they were made. What was decided since is in the log
itself: markers (`domain.lives`), `log.truncated` and `log.redacted`. So when all events are there,
it is done again, before anybody reads the log.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import apsw
import orjson

from daemon.backup.errors import ObjectDamaged
from daemon.eventlog.epochs import SOURCE
from daemon.eventlog.known import Known
from daemon.eventlog.removal import Run, ask_again, tell_runs
from daemon.eventlog.requests import Append
from daemon.eventlog.statements import SQL as LOG_SQL
from daemon.eventlog.statements import named_statements
from daemon.eventlog.transaction import Transaction
from daemon.redaction.redacting import PENDING
from domain.catalog import validate_payload
from domain.epochs import removals_stream, stream_of
from domain.errors import Invalid
from domain.events import NewEvent
from domain.lives import HOUSEKEEPING, category_of_stream
from domain.redaction import REDACTED, redacted

SQL: Final = named_statements(Path(__file__).with_name("settling.sql"))
UNSETTLED: Final = "unsettled"
"""The name under which a log remembers from where on it is to be settled."""
CAME_REDACTED: Final = "came_redacted"
"""The name under which a log remembers which events came redacted, until an event says so."""
_REASON: Final = "the log was brought back as of before that was decided"


def begin_unsettled(db: apsw.Connection, after: int) -> None:
    """Note that what comes after a position is about to be applied, and not settled yet.

    Who is killed in between settles it from there the next time.
    """
    before: Any = db.execute(LOG_SQL["find_meta"], (UNSETTLED,)).get
    if before is None or before > after:
        db.execute(LOG_SQL["set_meta"], (UNSETTLED, after))


def settle_decided(db: apsw.Connection, log_id: str) -> None:
    """Do again what the events of a log say of removals and redactions, in one transaction.

    Only what was applied since `begin_unsettled` is looked at.

    Raises:
        ObjectDamaged: a redaction cannot be done again.

    """
    with db:
        after: Any = db.execute(LOG_SQL["find_meta"], (UNSETTLED,)).get
        if after is None:
            return
        _redact(db, log_id, after)
        _remove(db, list(_told(db, log_id, after)))
        ask_again(db, after)
        db.execute(SQL["forget_done_removals"])
        if db.execute(SQL["has_runs"]).get:
            db.execute(SQL["forget_purged_keys"])
            db.execute(SQL["forget_streams"])
            db.execute(SQL["settle_floors"])
        db.execute(SQL["settled"], (UNSETTLED,))


# -- removals --------------------------------------------------------------------------------------


def _remove(db: apsw.Connection, told: list[Run]) -> None:
    """Remove what was removed, as events tell."""
    if not told:
        return
    for run in _joined(told):
        within = run.first, run.last
        rows: Any = db.execute(SQL["rows_within"], within).fetchall()
        for stream_id, version, position, key, stream in rows:
            if key is not None and category_of_stream(stream) not in HOUSEKEEPING:
                db.execute(LOG_SQL["keep_key"], (stream_id, key, position, version))
            db.execute(LOG_SQL["raise_floor"], (version, stream_id))
        db.execute(SQL["delete_within"], within)
    runs = _joined([*told, *(Run(*row) for row in db.execute(SQL["all_runs"]))])
    db.execute(SQL["delete_runs"])
    db.executemany(LOG_SQL["insert_run"], runs)


def _told(db: apsw.Connection, log_id: str, after: int) -> Iterator[Run]:
    for (data,) in db.execute(SQL["truncations"], (removals_stream(log_id), after)):
        for each in orjson.loads(data).get("runs") or ():
            yield Run(each["from"], each["to"], bytes.fromhex(each["digest"]))


def _joined(runs: Iterable[Run]) -> list[Run]:
    """Return runs as long as they can be: they grew together as time went by."""
    joined: list[Run] = []
    for run in sorted(runs):
        if joined and run.first <= joined[-1].last + 1:
            if run.last > joined[-1].last:
                joined[-1] = joined[-1]._replace(last=run.last, digest=run.digest)
        else:
            joined.append(run)
    return joined


# -- redactions ------------------------------------------------------------------------------------


def _redact(db: apsw.Connection, log_id: str, after: int) -> None:
    """Take out again what was taken out after a position."""
    wanted: dict[int, list[dict[str, Any]]] = {}
    newest = 0
    events: Any = db.execute(SQL["redactions"], (stream_of(log_id), after)).fetchall()
    for position, data in events:
        said: Any = orjson.loads(data)
        wanted.setdefault(said["position"], []).append(said)
        newest = position
    for position, every in wanted.items():
        row: Any = db.execute(SQL["event_at"], (position,)).fetchone()
        if row is not None:
            _redact_event(db, position, row, every)
    if newest:
        # Views that are there may have been made of the event as it was.
        db.execute(LOG_SQL["set_meta"], (PENDING, newest))


def _redact_event(
    db: apsw.Connection, position: int, row: Any, every: list[dict[str, Any]]
) -> None:
    type_, class_version, data = row
    wanted = every[-1]["payload_hash"].lower()
    for said in every:
        if sha256(data).hexdigest() == wanted:
            break
        try:
            data = redacted(type_, class_version, data, said.get("pointer", "")) or data
        except Invalid:
            # It was made after this one: nothing is there any more.
            continue
    if sha256(data).hexdigest() != wanted:
        raise ObjectDamaged(f"what was redacted of event {position} cannot be redacted again")
    db.execute(SQL["replace_data"], (data, position))


# -- what no event says ----------------------------------------------------------------------------


def note_redacted(db: apsw.Connection, redactions: Mapping[int, str]) -> None:
    """Note in the log which events came with another payload than was recorded.

    By position, the hash that each has (hexadecimal). Who is killed in between finds it.
    """
    if redactions:
        noted = _noted(db) | {str(at): each for at, each in redactions.items()}
        db.execute(LOG_SQL["set_meta"], (CAME_REDACTED, orjson.dumps(noted)))


def _noted(db: apsw.Connection) -> dict[str, str]:
    noted: Any = db.execute(LOG_SQL["find_meta"], (CAME_REDACTED,)).get
    return dict(orjson.loads(noted or b"{}"))


def tell_missing(db: apsw.Connection, log_id: str) -> None:
    """Append what says which positions have no events, where no event that is there says so.

    The log may end before those that did. The same for events that came redacted.
    """
    with db:
        stream = removals_stream(log_id)
        untold: Any = db.execute(LOG_SQL["untold_runs"], (stream, -1)).fetchall()
        own = db.execute(LOG_SQL["redacted_events"], (stream_of(log_id),))
        said = {orjson.loads(data)["position"] for (data,) in own}
        noted = {int(at): each for at, each in _noted(db).items()}
        unsaid = {each: noted[each] for each in sorted(noted) if each not in said}
        db.execute(SQL["settled"], (CAME_REDACTED,))
        if not untold and not unsaid:
            return
        transaction = Transaction(db, Known.read(db, log_id), 0, careful=True)
        runs = []
        for first, last in untold:
            digest: Any = db.execute(LOG_SQL["run_from"], (first,)).fetchone()
            runs.append(Run(first, last, digest[1]))
        tell_runs(transaction, log_id, runs, _REASON)
        for position, payload_hash in unsaid.items():
            told = {"position": position, "why": _REASON, "payload_hash": payload_hash}
            data = validate_payload(REDACTED, told)
            event = NewEvent(REDACTED, log_id, SOURCE, str(uuid.uuid4()), data)
            transaction.append(Append([event]))
        transaction.flush()
