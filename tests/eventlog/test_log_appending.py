"""What an append does: versions, duplicates, conflicts, times, dead letters, offsets."""

from __future__ import annotations

from hashlib import sha256

import pytest
from log_driving import START, drive, event, events, one, sql

from daemon.eventlog.deadletters import LetterFilter
from daemon.eventlog.requests import KEPT_BYTES_MAX, Append, DeadLetter, Follow
from domain.errors import VersionConflict

YEAR_ONE = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z in microseconds: how producers write a time that they do not have."""


def letter(raw: bytes, **fields) -> DeadLetter:
    """Return a dead letter."""
    return DeadLetter("flowlord-task", raw, "undecodable", "no JSON", "todo.json", **fields)


def letters(log, **wanted) -> list[dict]:
    """Return dead letters as documents, the oldest first."""
    return [kept.document() for kept in log.list_dead_letters(0, 10, LetterFilter(**wanted))]


def test_versions_count_in_the_stream_and_positions_in_the_log(log) -> None:
    """Events of two streams in one request get the next version of each, and the next position."""
    appended = one(log, [event(1), event(2, "j2"), event(3)])
    assert [(r.position, r.stream, r.version) for r in appended.receipts] == [
        (1, "job/j1", 1),
        (2, "job/j2", 1),
        (3, "job/j1", 2),
    ]
    assert appended.head == log.head() == 3


def test_what_was_appended_is_read_back_whole(log) -> None:
    """Every attribute comes back as it went in, with what the log adds."""
    new = event(
        1,
        "a/b c",
        data='{"wort":"Ähre"}'.encode(),
        time=START - 5,
        extensions={"correlationid": "c", "n": 1, "flag": True},
        class_version=1,
    )
    one(log, [new])
    (read,) = log.read(0, 10)
    assert read.stream == "job/a/b c"
    assert (read.position, read.version, read.type, read.source, read.id) == (
        1, 1, "job.progressed", "/test", "e1",
    )  # fmt: skip
    assert (read.time, read.recordedtime) == (START - 5, START)
    assert (read.data, read.payload) == (new.data, {"wort": "Ähre"})
    assert read.extensions == {"correlationid": "c", "n": 1, "flag": True}


def test_a_repeat_gets_the_original_receipt(log) -> None:
    """The same source and id in the same stream adds nothing and is told the first one's place."""
    one(log, events(1, 3))
    again = one(log, [event(2)])
    assert again.receipts[0][:5] == ("e2", 2, "job/j1", 2, True)
    assert (again.head, len(log.read(0, 10))) == (3, 3)


def test_a_repeat_inside_a_batch_sees_the_first(log) -> None:
    """Two events with one key in one batch are one event."""
    appended = one(log, [event(1), event(2), event(1)])
    assert [(r.position, r.duplicate) for r in appended.receipts] == [
        (1, False), (2, False), (1, True),
    ]  # fmt: skip


def test_a_repeat_in_the_same_group_sees_the_first(log) -> None:
    """Two requests of one commit with the same event: the later one is told of the earlier."""
    first, second = drive(log, [event(1)], [event(1)])
    assert (first.receipts[0].duplicate, second.receipts[0].duplicate) == (False, True)


def test_a_repeat_after_a_restart_is_a_repeat(opened) -> None:
    """Keys are in the file, not in memory."""
    log = opened()
    one(log, [event(1)])
    log.close()
    again = one(opened(), [event(1)]).receipts[0]
    assert (again.position, again.duplicate) == (1, True)


def test_the_same_id_in_another_stream_is_another_event(log) -> None:
    """Repeats are looked for in the event's own stream."""
    assert one(log, [event(1, "j1"), event(1, "j2")]).head == 2


def test_the_key_is_the_pair_of_source_and_id(log) -> None:
    """Source and id that only together read alike are different events."""
    first = event(1)
    shifted = [
        type(first)("job.progressed", "j1", source, id_, b"{}")
        for source, id_ in (("/a", "bc"), ("/ab", "c"))
    ]
    assert one(log, shifted).head == 2


@pytest.mark.parametrize("other", [{"data": b'{"other":1}'}, {"type": "job.started"}])
def test_a_repeat_that_says_something_else_is_flagged(log, other) -> None:
    """Same key with another payload or type: the original's receipt, and `differs`."""
    one(log, [event(1)])
    receipt = one(log, [event(1, **other)]).receipts[0]
    assert (receipt.position, receipt.duplicate, receipt.differs) == (1, True, True)
    assert not one(log, [event(1)]).receipts[0].differs


def test_an_expected_version_that_fits_is_taken(log) -> None:
    """0 is a new stream; in a batch the events before count."""
    chained = [event(n, expected_version=n - 1) for n in range(1, 4)]
    assert [r.version for r in one(log, chained).receipts] == [1, 2, 3]


def test_a_conflict_names_the_event_and_records_nothing(log) -> None:
    """One event with a wrong expected version: nothing of its batch is there."""
    one(log, [event(1)])
    with pytest.raises(VersionConflict) as caught:
        one(log, [event(2), event(3, "j2"), event(4, expected_version=1)])
    (fault,) = caught.value.errors
    assert (fault.index, fault.pointer, fault.code) == (2, "/expectedversion", "version_conflict")
    assert "version 2, not 1" in fault.detail
    assert log.head() == 1
    assert one(log, [event(2), event(3, "j2")]).head == 3


def test_a_retried_append_is_a_duplicate_never_a_conflict(log) -> None:
    """Whoever sends again what was recorded is told so, although the stream has moved on."""
    one(log, [event(1, expected_version=0)])
    one(log, [event(2)])
    receipt = one(log, [event(1, expected_version=0)]).receipts[0]
    assert (receipt.position, receipt.duplicate) == (1, True)


def test_a_time_that_is_missing_is_the_recorded_time(log) -> None:
    """No time, and year 1, mean: when it was recorded."""
    one(log, [event(1), event(2, time=YEAR_ONE), event(3, time=YEAR_ONE + 86_400_000_000)])
    assert [e.time for e in log.read(0, 10)] == [START] * 3


def test_recorded_time_never_decreases(opened, clock) -> None:
    """A clock that jumps back holds still in the log, also over a restart."""
    log = opened()
    one(log, [event(1)])
    clock.now -= 3_600_000_000
    one(log, [event(2)])
    log.close()
    log = opened()
    one(log, [event(3)])
    clock.now = START + 1
    one(log, [event(4)])
    assert [e.recordedtime - START for e in log.read(0, 10)] == [0, 0, 0, 1]
    assert log.verify() == []


def test_positions_of_removed_events_are_never_used_again(opened, path) -> None:
    """After the newest events were removed, the next one gets the next position all the same."""
    log = opened()
    one(log, events(1, 5))
    log.close()
    sql(path, "DELETE FROM events WHERE position > 2")
    log = opened()
    assert log.head() == 5
    assert one(log, [event(9)]).receipts[0].position == 6


def test_versions_go_on_after_the_floor(opened, path) -> None:
    """A stream whose events were all removed goes on after the version it had."""
    log = opened()
    one(log, events(1, 3))
    log.close()
    sql(path, "UPDATE streams SET floor = 3")
    sql(path, "DELETE FROM events")
    assert one(opened(), [event(9)]).receipts[0].version == 4


def test_dead_letters_are_unique_by_format_and_bytes(log, clock) -> None:
    """A repeat raises the count and the last time; another format is another letter."""
    one(log, Append([], [letter(b"x"), letter(b"y"), letter(b"x")]))
    clock.now += 1_000_000
    answer = one(log, Append([], [letter(b"x"), DeadLetter("other", b"x", "r", "d", "o")]))
    assert answer.dead_letters == 2
    found = [(d["format"], d["raw"], d["count"]) for d in letters(log)]
    assert found == [("flowlord-task", "x", 3), ("flowlord-task", "y", 1), ("other", "x", 1)]
    first = letters(log)[0]
    assert (first["first_seen"], first["last_seen"]) == (
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:01Z",
    )
    assert log.dead_letter_counts() == {"flowlord-task": (2, 4), "other": (1, 1)}


def test_a_long_dead_letter_is_cut_and_its_length_and_hash_kept(log) -> None:
    """At most 256 KiB are kept, beside the whole length and digest."""
    raw = b"\xff" + b"x" * (KEPT_BYTES_MAX + 9)
    one(log, Append([], [letter(raw)]))
    found = letters(log)[0]
    assert found["length"] == len(raw)
    assert found["sha256"] == sha256(raw).hexdigest()
    assert len(found["raw"]) == KEPT_BYTES_MAX
    assert found["raw"].startswith("\N{REPLACEMENT CHARACTER}x")


def test_a_masked_dead_letter_is_kept_masked_and_known_by_its_bytes(log, path) -> None:
    """What is kept is the masked text; two secrets that mask alike are two letters."""
    one(log, Append([], [letter(b"token=a", kept=b"token=***"), letter(b"token=b", kept=b"t=***")]))
    assert [d["raw"] for d in letters(log)] == ["token=***", "t=***"]
    assert b"token=a" not in path.with_name("log.db-wal").read_bytes()


def test_dead_letters_are_listed_in_pages_and_by_format(log) -> None:
    """Pages go on after an id; a format filters."""
    one(log, Append([], [letter(bytes([n])) for n in range(5)]))
    one(log, Append([], [DeadLetter("other", b"z", "r", "d", "o")]))
    first = log.list_dead_letters(0, 4)
    rest = log.list_dead_letters(first[-1].id, 4)
    assert [d.id for d in first + rest] == [1, 2, 3, 4, 5, 6]
    assert [d["raw"] for d in letters(log, format="other")] == ["z"]


def test_a_followed_stretch_is_recorded_exactly_once(log) -> None:
    """Sent again, its events are duplicates, its dead letters are not counted, its offset stays."""
    stretch = Append([event(1)], [letter(b"x")], Follow("pipe", 0, 100))
    assert one(log, stretch).dead_letters == 1
    again = one(log, stretch)
    assert (again.receipts[0].duplicate, again.dead_letters) == (True, 0)
    assert letters(log)[0]["count"] == 1
    assert (log.follow_offset("pipe"), log.follow_offset("other")) == (100, 0)


def test_offsets_never_go_back(log) -> None:
    """An older stretch that comes late changes nothing; each name has its own offset."""
    one(log, Append([event(1)], (), Follow("pipe", 0, 100)))
    one(log, Append([event(2)], (), Follow("other", 0, 7)))
    one(log, Append([event(1)], [letter(b"x")], Follow("pipe", 0, 50)))
    assert (log.follow_offset("pipe"), log.follow_offset("other")) == (100, 7)
    assert log.list_dead_letters(0, 10) == []


def test_two_stretches_in_one_group_are_told_apart(log) -> None:
    """A repeat that waits in the queue together with the first is a repeat."""
    stretch = Append([], [letter(b"x")], Follow("pipe", 0, 100))
    first, second = drive(log, stretch, stretch)
    assert (first.dead_letters, second.dead_letters) == (1, 0)


def test_a_refused_stretch_leaves_no_offset(log) -> None:
    """Offset, dead letters and events of a request stand and fall together."""
    with pytest.raises(VersionConflict):
        one(log, Append([event(1, expected_version=7)], [letter(b"x")], Follow("pipe", 0, 100)))
    assert log.follow_offset("pipe") == 0
    assert log.list_dead_letters(0, 10) == []
    assert one(log, Append([], [letter(b"x")], Follow("pipe", 0, 100))).dead_letters == 1


def test_a_stretch_may_replace_another_name(log) -> None:
    """What was remembered under the name that is done with is gone, and that only."""
    one(log, Append([event(1)], (), Follow("file@1", 0, 10)))
    one(log, Append([event(2)], (), Follow("other", 0, 7)))
    one(log, Append([event(3)], (), Follow("file@2", 0, 5, replaces="file@1")))
    one(log, Append([event(3)], (), Follow("file@2", 0, 5, replaces="file@2")))
    assert [(row.name, row.offset) for row in log.follow_offsets("file@")] == [("file@2", 5)]
    assert log.follow_offset("other") == 7


def test_a_refused_stretch_replaces_nothing(log) -> None:
    """The name that is done with stays where the request does not."""
    one(log, Append([event(1)], (), Follow("file@1", 0, 10)))
    with pytest.raises(VersionConflict):
        one(log, Append([event(2, expected_version=7)], (), Follow("file@2", 0, 5, "file@1")))
    assert [row.name for row in log.follow_offsets("file@")] == ["file@1"]


def test_offsets_are_listed_by_the_start_of_their_names(log) -> None:
    """Pages go on after a name; what a pattern would mean in a name means nothing."""
    for name in ("a%", "ab", "ab\u00e9", "b", "a"):
        one(log, Append([], (), Follow(name, 0, 1)))
    assert [row.name for row in log.follow_offsets("ab")] == ["ab", "ab\u00e9"]
    assert [row.name for row in log.follow_offsets("a", limit=2)] == ["a", "a%"]
    assert [row.name for row in log.follow_offsets("a", after="a%")] == ["ab", "ab\u00e9"]
    assert log.follow_offsets("c") == []
