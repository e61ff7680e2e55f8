"""A redaction in the log: one transaction, a chain that verifies, and nothing to guess by."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
from epoch_log import two_epochs
from redacting_logs import POINTER, SECRET, job, redact

from daemon.eventlog.log import EventLog
from daemon.eventlog.proof import prove_log
from daemon.eventlog.requests import DeadLetter
from daemon.redaction.redacting import (
    AlreadyRemovedError,
    Redacted,
    find_letters,
    find_position,
)
from domain.catalog import validate_payload
from domain.errors import Conflict, Invalid, NotFound
from domain.events import NewEvent, RecordedEvent


def event_at(log: EventLog, position: int) -> RecordedEvent:
    """Return the event at a position."""
    return log.read(position - 1, 1)[0]


def test_a_value_is_replaced_and_an_event_says_who_and_why(log: EventLog) -> None:
    """The event keeps its place; the log verifies; done again it does nothing."""
    assert redact(log, 2) == Redacted(2, 4)
    assert event_at(log, 2).payload["params"] == {"token": "[redacted]", "n": [1, SECRET]}
    said = event_at(log, 4)
    assert (said.stream, said.type) == (f"log/{log.log_id}", "log.redacted")
    assert said.extensions == {"actor": "ana"}
    assert said.payload["why"] == "a token"
    assert redact(log, 2) == Redacted(2, None)
    assert redact(log, 2, "/data/params/n/1") == Redacted(2, 5)
    assert redact(log, 2, "/data/params") == Redacted(2, 6)
    assert event_at(log, 2).payload["params"] is None
    assert redact(log, 2, POINTER) == Redacted(2, None)
    assert log.head() == 6
    assert log.verify() == []
    log.verify_tail()


def test_what_cannot_be_redacted_is_refused(log: EventLog) -> None:
    """Nothing is changed, and the error says why."""
    redact(log, 2)
    data = validate_payload("job.archived", {"replaces": 1})
    log.append([NewEvent("job.archived", "j3", "/chronicled", "a", data)])
    with pytest.raises(NotFound, match="no event at position 9"):
        redact(log, 9)
    with pytest.raises(Invalid, match="the daemon itself"):
        redact(log, 4)
    with pytest.raises(Invalid, match="nothing at"):
        redact(log, 1)
    with pytest.raises(AlreadyRemovedError, match="job/j3 was archived"):
        redact(log, 3, "/data/kind")
    assert log.head() == 5


def test_an_event_is_found_by_source_and_id(log: EventLog) -> None:
    """Its id alone may be that of several streams."""
    assert find_position(log, "/tests", "e2") == 2
    with pytest.raises(NotFound):
        find_position(log, "/other", "e2")
    log.append([job("j4", "e2")])
    with pytest.raises(Conflict, match="at 2, 4"):
        find_position(log, "/tests", "e2")


def test_an_event_is_found_behind_what_an_epoch_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch of the positions between was looked through."""
    path, looks = tmp_path / "epochs.db", list[int]()
    reading = EventLog.reading
    monkeypatch.setattr(EventLog, "reading", lambda log: looks.append(1) or reading(log))
    places = two_epochs(path, gap=100_000_000)
    with closing(EventLog.open(path)) as log:
        looks.clear()
        assert find_position(log, "/tests", "job.started/job-1-9") == places[-1]
    assert len(looks) < 10


def test_dead_letters_with_the_same_text_are_named(log: EventLog) -> None:
    """What is short stands everywhere, and says nothing."""
    texts = (f"x {SECRET} y", "nothing")
    log.append([], dead_letters=[DeadLetter("f", text.encode(), "r", "d", "o") for text in texts])
    assert find_letters(log, 2, POINTER) == [1]
    assert find_letters(log, 2, "/data/kind") == []


def test_a_repeat_does_not_tell_whether_a_guess_is_right(log: EventLog) -> None:
    """Whoever sends the event again, with any value, hears the same."""
    redact(log, 2)
    guesses = (SECRET, "another", "[redacted]")
    events = [job("j2", "e2", kind="k", params={"token": g, "n": [1, SECRET]}) for g in guesses]
    receipts = [log.append([event]).receipts[0] for event in events]
    assert len(set(receipts)) == 1
    assert receipts[0].duplicate
    assert not receipts[0].differs
    other = job("j3", "e3", kind="other")
    assert log.append([other]).receipts[0].differs


CHANGES = {
    "payload": 'UPDATE events SET data = CAST(\'{"kind":"x"}\' AS BLOB) WHERE position = 2',
    "redaction": "UPDATE events SET data = ?1 WHERE position = 2",
    "chain": "UPDATE events SET payload_hash = zeroblob(32) WHERE position = 2",
    "unsaid": 'UPDATE events SET data = CAST(\'{"kind":"x"}\' AS BLOB) WHERE position = 3',
}


@pytest.mark.parametrize("change", CHANGES)
def test_verification_finds_what_no_redaction_says(log: EventLog, change: str) -> None:
    """Only what the newest redaction of an event says may stand in the place of its payload."""
    path = Path(log.path)
    with closing(apsw.Connection(log.path)) as db:
        before = db.execute("SELECT data FROM events WHERE position = 2").get
    redact(log, 2)
    redact(log, 2, "/data/params")
    log.close()
    assert prove_log(path, at_rest=True).findings == []
    with closing(apsw.Connection(str(path))) as db:
        db.execute(CHANGES[change], (before,) if "?1" in CHANGES[change] else None)
    kinds = [each.kind for each in prove_log(path, at_rest=True).findings]
    assert kinds == ["payload" if change == "unsaid" else change]


def test_only_the_newest_redaction_of_an_event_counts(log: EventLog) -> None:
    """What stood there between two of them is not right any more."""
    redact(log, 2)
    between = event_at(log, 2).data
    redact(log, 2, "/data/params")
    path = Path(log.path)
    log.close()
    with closing(apsw.Connection(str(path))) as db:
        db.execute("UPDATE events SET data = ? WHERE position = 2", (between,))
    assert [each.kind for each in prove_log(path).findings] == ["payload"]
