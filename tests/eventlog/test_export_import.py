"""Export and import: what comes back is what was, and whatever is wrong is told with its line."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from histories import (
    add_foreign,
    chained_again,
    exported,
    exported_with,
    fill,
    imported,
    new_events,
    rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from log_driving import events, one, sql

from daemon.eventlog.log import EventLog
from daemon.lock import DataDirectory
from daemon.replay.lines import appendable
from domain.cloudevents import from_ndjson
from domain.errors import (
    ChronicledError,
    DirectoryLocked,
    HistoryConflict,
    Invalid,
    NewerEvent,
    NewerSchema,
    Undecodable,
)
from domain.events import NewEvent
from domain.historic import read_historic
from domain.limits import Limits

META = "SELECT * FROM log_meta ORDER BY key"


def job(number: int, subject: str = "j", **fields: Any) -> NewEvent:
    """Return a valid event with an id of its own."""
    data = orjson.dumps({"fraction": number / 100})
    return NewEvent("job.progressed", subject, "/test", f"e{number}", data, **fields)


@pytest.fixture
def lines(tmp_path: Path) -> list[bytes]:
    """Return the lines of an export of 30 events of three streams."""
    path = fill(tmp_path / "source", [[job(n, f"j{n % 3}")] for n in range(30)])
    return exported(path).splitlines()


@settings(max_examples=60)
@given(st.lists(st.lists(new_events(), max_size=4), max_size=8))
def test_a_history_comes_back_exactly_as_it_was(groups: list[list[NewEvent]]) -> None:
    """Rows, digests and what the log says of itself are the same, and so is another export."""
    with tempfile.TemporaryDirectory() as directory:
        path = fill(Path(directory, "source"), groups)
        text, trailer = exported_with(path)
        assert trailer.complete
        copy = imported(text, Path(directory, "target"))
        assert rows(copy) == rows(path)
        assert sql(copy, META) == sql(path, META)
        assert exported(copy) == text
        with closing(EventLog.open(copy)) as log:
            assert log.verify() == []


def test_an_imported_log_goes_on(tmp_path: Path) -> None:
    """Events appended after an import continue streams and chain, and repeats are known."""
    path = fill(tmp_path / "source", [[job(1), job(2)], [job(3)]])
    copy = imported(exported(path), tmp_path / "target")
    with closing(EventLog.open(copy)) as log:
        receipts = one(log, [job(2), job(4)]).receipts
        assert [(each.position, each.version, each.duplicate) for each in receipts] == [
            (2, 2, True),
            (4, 4, False),
        ]
        assert log.verify() == []
    assert sorted(each.name for each in copy.parent.iterdir()) == ["chronicled.lock", "log.db"]
    assert copy.stat().st_mode & 0o777 == 0o600
    settings_ = {
        name: sql(copy, f"PRAGMA {name}")[0][0] for name in ("auto_vacuum", "journal_mode")
    }
    assert settings_ == {"auto_vacuum": 2, "journal_mode": "wal"}


def test_what_was_not_recorded_in_our_form_comes_back_too(tmp_path: Path) -> None:
    """Payload bytes are kept as they are, also where they are spaced as we would not write them."""
    data = b'{ "fraction" : 0.50, "message": "\\u00fc" }'
    path = fill(tmp_path / "source", [[job(1)._replace(data=data)]])
    assert rows(imported(exported(path), tmp_path / "target")) == rows(path)


def test_an_empty_log_is_exported_and_imported(tmp_path: Path) -> None:
    """Its id comes back, although there is no event."""
    path = fill(tmp_path / "source", [])
    text = exported(path)
    assert len(text.splitlines()) == 2
    copy = imported(text, tmp_path / "target")
    assert sql(copy, META) == sql(path, META)


def test_a_compressed_export_is_read_as_it_is(tmp_path: Path, lines: list[bytes]) -> None:
    """Compression is seen in the data, not in a name."""
    text = b"\n".join(lines) + b"\n"
    imported(zstandard.ZstdCompressor().compress(text), tmp_path / "target")
    assert exported(tmp_path / "target" / "log.db") == text


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_compressed_export_that_is_cut_off_is_refused(
    tmp_path: Path, lines: list[bytes], kept: float
) -> None:
    """However it is cut, nothing is imported."""
    whole = zstandard.ZstdCompressor(level=3).compress(b"\n".join(lines) + b"\n")
    with pytest.raises(ChronicledError, match=r"^line \d+: "):
        imported(whole[: int(len(whole) * kept)], tmp_path / "target")
    assert not (tmp_path / "target" / "log.db").exists()


def edited(lines: list[bytes], number: int, before: bytes, after: bytes) -> list[bytes]:
    """Return lines of which one is changed; numbers begin with 1."""
    assert before in lines[number - 1]
    changed = lines[number - 1].replace(before, after)
    return [*lines[: number - 1], changed, *lines[number:]]


DAMAGES = {
    "an edited payload": (lambda x: edited(x, 12, b'"fraction":0.1', b'"fraction":0.2'), 12),
    "an edited time": (lambda x: edited(x, 9, b'"time":"2026', b'"time":"2025'), 9),
    "an edited recordedtime": (
        lambda x: edited(x, 9, b'"recordedtime":"2026', b'"recordedtime":"2025'),
        9,
    ),
    "an edited id": (lambda x: edited(x, 7, b'"id":"e5"', b'"id":"e9"'), 7),
    "an edited subject": (lambda x: edited(x, 7, b'"subject":"j2"', b'"subject":"j7"'), 7),
    "an edited version": (lambda x: edited(x, 20, b'"version":7', b'"version":8'), 20),
    "an edited digest": (lambda x: edited(x, 20, b'"logdigest":"', b'"logdigest":"ff'), 20),
    "another digest": (
        lambda x: [*x[:19], x[19].replace(x[19][-99:-30], x[18][-99:-30]), *x[20:]],
        20,
    ),
    "no digest": (lambda x: edited(x, 20, b'"logdigest"', b'"otherdigest"'), 20),
    "an invalid payload": (lambda x: edited(x, 5, b'"fraction":0', b'"fraction":"0"'), 5),
    "an unknown field": (lambda x: edited(x, 5, b'"fraction"', b'"fracture"'), 5),
    "no subject": (lambda x: edited(x, 5, b'"subject"', b'"object"'), 5),
    "a control character": (lambda x: edited(x, 5, b'"subject":"', b'"subject":"\\u0001'), 5),
    "no JSON": (lambda x: [*x[:14], x[14][:-20], *x[15:]], 15),
    "a list": (lambda x: [*x[:14], b"[]", *x[15:]], 15),
    "a line removed": (lambda x: [*x[:14], *x[15:]], 15),
    "a line twice": (lambda x: [*x[:14], x[13], *x[14:]], 15),
    "lines swapped": (lambda x: [*x[:14], x[15], x[14], *x[16:]], 15),
    "the first of two faults": (
        lambda x: edited([*x[:24], b"{", *x[25:]], 12, b'"fraction":0.1', b'"fraction":0.2'),
        12,
    ),
    "no last line": (lambda x: x[:-1], 32),
    "a line after the last": (lambda x: [*x, x[5]], 33),
    "another count": (lambda x: edited(x, 32, b'"count":30', b'"count":31'), 32),
    "another epoch at the end": (lambda x: edited(x, 32, b'"epoch":1', b'"epoch":2'), 32),
    "another digest at the end": (lambda x: edited(x, 32, b'"digest":"', b'"digest":"0'), 32),
    "another log's first line": (lambda x: edited(x, 1, b'"log_id":"', b'"log_id":"0'), 1),
    "no first line": (lambda x: x[1:], 1),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_with_its_line(tmp_path: Path, lines: list[bytes], name: str) -> None:
    """Whatever is changed, removed, moved or added is found, and nothing is imported."""
    damage, number = DAMAGES[name]
    changed = damage(list(lines))
    assert changed != lines
    with pytest.raises((Invalid, Undecodable), match=f"^line {number}: "):
        imported(b"\n".join(changed) + b"\n", tmp_path / "target")
    assert [each.name for each in (tmp_path / "target").iterdir()] == ["chronicled.lock"]


def test_a_last_line_that_is_cut_off_is_told(tmp_path: Path, lines: list[bytes]) -> None:
    """A copy that ended early is noticed even where the line could be read."""
    with pytest.raises(Undecodable, match=r"^line 32: .* no end"):
        imported(b"\n".join(lines), tmp_path / "target")


def test_who_knows_how_to_make_digests_cannot_repeat_an_event(
    tmp_path: Path, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is in its stream already is told, in the same batch and in a later one."""

    def repeat(index: int, event: Any) -> None:
        if index == 12:
            event["id"] = "e0"

    text = chained_again(lines, repeat)
    for size in (5_000, 4):
        monkeypatch.setattr("daemon.replay.lines.BATCH_EVENTS", size)
        with pytest.raises(Invalid, match=r"^line 14: id is that of an earlier event"):
            imported(text, tmp_path / "target")


def test_what_is_changed_with_its_digests_is_another_history(
    tmp_path: Path, lines: list[bytes]
) -> None:
    """Such a change imports, but under another digest: the digest is what one has to know."""

    def change(index: int, event: Any) -> None:
        if index == 12:
            event["data"] = {"fraction": 1.0}

    text = chained_again(lines, change)
    path = imported(text, tmp_path / "target")
    assert orjson.loads(lines[-1])["data"]["digest"] not in exported(path).decode()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"first": 2}, "does not begin with the first"),
        ({"stream": "job/j1"}, "of one stream"),
    ],
)
def test_a_part_of_a_history_is_not_imported(tmp_path: Path, options: Any, why: str) -> None:
    """A part is exported, says so, and is refused by an import with what can be done."""
    path = fill(tmp_path / "source", [[job(n, f"j{n % 2}")] for n in range(6)])
    text, trailer = exported_with(path, **options)
    assert not trailer.complete
    with pytest.raises(Invalid, match=why) as refused:
        imported(text, tmp_path / "target")
    assert "--append" in refused.value.operator_hint


def test_the_beginning_of_a_history_is_whole(tmp_path: Path) -> None:
    """Up to any position a log can be had as it was then."""
    path = fill(tmp_path / "source", [[job(n)] for n in range(6)])
    copy = imported(exported(path, last=4), tmp_path / "target")
    assert rows(copy) == rows(path)[:4]


@pytest.mark.parametrize("name", ["", "bank"])
def test_rows_of_other_applications_are_left_out(tmp_path: Path, name: str) -> None:
    """They are not exported, and what is exported says that it is not the whole."""
    path = fill(tmp_path / "source", [[job(1)]])
    add_foreign(path, name)
    with closing(EventLog.open(path)) as log:
        one(log, [job(2)])
    text, trailer = exported_with(path)
    assert (trailer.count, trailer.last, trailer.complete) == (2, 3, False)
    with pytest.raises(Invalid, match=r"^line 3: position is 3, and should be 2"):
        imported(text, tmp_path / "target")
    assert exported_with(path, last=1)[1].complete


def test_one_stream_is_exported_with_the_digest_of_the_log(tmp_path: Path) -> None:
    """Its events are those of the stream between the positions, in pages too."""
    path = fill(tmp_path / "source", [[job(n, f"j{n % 2}")] for n in range(9)])
    text, trailer = exported_with(path, 3, 8, stream="job/j0")
    assert [orjson.loads(line)["position"] for line in text.splitlines()[1:-1]] == [3, 5, 7]
    with closing(EventLog.open(path)) as log:
        assert bytes.fromhex(trailer.digest) == log.digest_at(8)


def test_only_an_empty_directory_takes_a_history(tmp_path: Path, lines: list[bytes]) -> None:
    """A log with an event is kept, a locked directory refused; an empty log makes room."""
    text = b"\n".join(lines) + b"\n"
    used = fill(tmp_path / "used", [[job(1)]])
    before = rows(used)
    with pytest.raises(HistoryConflict, match="is not empty"):
        imported(text, tmp_path / "used")
    assert rows(used) == before
    with DataDirectory.acquire(tmp_path / "locked"), pytest.raises(DirectoryLocked):
        imported(text, tmp_path / "locked")
    fill(tmp_path / "empty", [])
    assert len(rows(imported(text, tmp_path / "empty"))) == 30


def test_what_a_killed_import_left_is_in_nobodys_way(tmp_path: Path, lines: list[bytes]) -> None:
    """The next import clears it away."""
    target = tmp_path / "target"
    target.mkdir()
    for suffix in ("", "-wal", "-shm", "-journal"):
        (target / f"log.db.import{suffix}").write_bytes(b"half")
    imported(b"\n".join(lines) + b"\n", target)
    assert sorted(each.name for each in target.iterdir()) == ["chronicled.lock", "log.db"]


def test_events_of_a_newer_release_are_refused_with_line_and_release(
    tmp_path: Path, lines: list[bytes]
) -> None:
    """An unknown type and a greater class version are told, and the release that wrote the log."""
    for before, after in (
        (b'"type":"job.progressed"', b'"type":"job.teleported"'),
        (b'"logdigest"', b'"classversion":2,"logdigest"'),
    ):
        text = b"\n".join(edited(lines, 8, before, after)).replace(b'"0.1.0"', b'"7.1.0"') + b"\n"
        with pytest.raises(NewerEvent, match=r"^line 8: .* release 7\.1\.0"):
            imported(text, tmp_path / "target")
    text = b"\n".join(lines).replace(b'"log_schema":2', b'"log_schema":9') + b"\n"
    with pytest.raises(NewerSchema, match="schema 9"):
        imported(text, tmp_path / "target")
    with pytest.raises(Invalid, match=r"^line 1: .* format"):
        imported(text.replace(b'"format":1', b'"format":2'), tmp_path / "target")


def test_events_of_a_newer_release_are_exported_as_they_are_stored(tmp_path: Path) -> None:
    """Nobody has to understand an event to carry it to a program that does."""
    newer = [
        NewEvent("job.teleported", "a", "/newer", "1", b'{"planet":"Mars"}'),
        NewEvent("job.started", "a", "/newer", "2", b'{"planet":"Mars"}', class_version=3),
    ]
    first, second = map(orjson.loads, exported(fill(tmp_path, [newer])).splitlines()[1:-1])
    assert (first["type"], first["data"]) == ("job.teleported", {"planet": "Mars"})
    assert (second["classversion"], second["data"]) == (3, {"planet": "Mars"})


def test_lines_of_an_export_can_be_appended(lines: list[bytes]) -> None:
    """What places an event in a log is nobody's extension: it is left out where it is appended."""
    body = b"\n".join(lines[1:-1])
    for event in from_ndjson(body, Limits()):
        assert event.extensions is None
    assert appendable(lines[0]) == appendable(lines[-1]) == (None, False)
    assert appendable(lines[1]) == (lines[1], True)
    assert appendable(b"no JSON") == (b"no JSON", True)
    own = lines[1].replace(b"job.progressed", b"job.purged")
    assert appendable(own) == (None, True)


@given(st.binary(max_size=60))
def test_any_line_is_an_event_or_one_of_our_errors(line: bytes) -> None:
    """Reading a line never fails in a way that nobody foresaw."""
    for text in (line, b'{"specversion":"1.0","id":' + line, b'{"specversion":"1.0"}'):
        with pytest.raises(ChronicledError):
            read_historic(text)


def test_events_of_tests_in_general_are_not_valid_ones(tmp_path: Path) -> None:
    """A payload that its type does not allow is not imported, whatever recorded it."""
    path = fill(tmp_path / "source", [events(1, 2)])
    with pytest.raises(Invalid, match=r"^line 2: unknown field 'number'"):
        imported(exported(path), tmp_path / "target")
