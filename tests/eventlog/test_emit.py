"""Emission: order, relative timing by a clock that is given, batches, and what is left out."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from histories import exported, fill
from log_driving import START

from daemon.eventlog.log_file import LogFile
from daemon.replay import emit as emission
from daemon.replay.emit import Emitted, Outgoing, emit, outgoing, outgoing_preserved, parse_speed
from daemon.replay.stretch import find_stretch
from domain.errors import BeyondHead, Invalid, NewerEvent
from domain.events import NewEvent
from domain.moments import Point

SECOND = 1_000_000


class Time:
    """A clock that goes on only where somebody waits; it notes what is sent, and when."""

    def __init__(self, stop_at: float = 1e9) -> None:
        self.now = 1000.0
        self.sent: list[tuple[float, bytes]] = []
        self.duplicates = 0
        self._stop_at = 1000.0 + stop_at

    def clock(self) -> float:
        """Return the time in seconds."""
        return self.now

    def wait(self, seconds: float) -> bool:
        """Let the time go on; return whether the emission is to stop."""
        self.now += seconds
        return self.now >= self._stop_at

    def send(self, lines: bytes) -> int:
        """Note what is sent."""
        self.sent.append((round(self.now - 1000, 6), lines))
        return self.duplicates

    def emit(self, events: list[Outgoing], speed: float | None = 1.0) -> Emitted:
        """Emit events by this clock."""
        emitted = Emitted(0)
        emit(events, self.send, emitted, speed=speed, clock=self.clock, wait=self.wait)
        return emitted


def at(*seconds: float) -> list[Outgoing]:
    """Return events that were recorded so many seconds after the start."""
    return [
        Outgoing(position, START + int(second * SECOND), b"%d" % position)
        for position, second in enumerate(seconds, 1)
    ]


@pytest.mark.parametrize(
    ("speed", "moments"),
    [(1.0, [0, 1.5, 100]), (10.0, [0, 0.15, 10]), (0.5, [0, 3, 200]), (None, [0])],
)
def test_events_go_when_they_are_due(speed: float | None, moments: list[float]) -> None:
    """Relative times are kept, or divided by the speed; those of one moment go together."""
    time = Time()
    emitted = time.emit(at(7, 7, 8.5, 8.5, 107), speed)
    assert [moment for moment, _ in time.sent] == moments
    assert b"".join(lines for _, lines in time.sent) == b"1\n2\n3\n4\n5\n"
    assert emitted == Emitted(5, events=5)


def test_what_is_late_goes_at_once() -> None:
    """While the other side is slow or away events become due, and go together after it."""
    time = Time()

    def slow(lines: bytes) -> int:
        time.send(lines)
        time.now += 2.5
        return 0

    emit(at(0, 1, 2, 3), slow, Emitted(0), speed=1, clock=time.clock, wait=time.wait)
    assert time.sent == [(0, b"1\n"), (2.5, b"2\n3\n"), (5, b"4\n")]


def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch has more events or bytes than the bounds say, unless one event has."""
    monkeypatch.setattr(emission, "BATCH_EVENTS", 3)
    time = Time()
    time.emit(at(*[0] * 7))
    assert [lines for _, lines in time.sent] == [b"1\n2\n3\n", b"4\n5\n6\n", b"7\n"]
    monkeypatch.setattr(emission, "BATCH_BYTES", 10)
    time.sent.clear()
    time.emit([Outgoing(n, START, b"x" * size) for n, size in enumerate((4, 5, 3, 40, 1), 1)])
    assert [len(lines) for _, lines in time.sent] == [11, 4, 41, 2]


def test_it_stops_when_told_and_says_where() -> None:
    """A stop within a wait, or between batches, leaves what was acknowledged and nothing else."""
    time = Time(stop_at=5)
    emitted = time.emit(at(0, 1, 100, 200))
    assert (emitted.position, emitted.stopped, len(time.sent)) == (2, True, 2)
    time = Time(stop_at=0)
    emitted = time.emit(at(*[0] * 5000), None)
    assert (emitted.position, emitted.stopped) == (1000, True)


def test_an_error_leaves_what_was_acknowledged() -> None:
    """Where the other side refuses, the position is that of the last batch it took."""
    time = Time()
    emitted = Emitted(0)

    def refuse(lines: bytes) -> int:
        if lines == b"3\n":
            raise ValueError("refused")
        return time.send(lines)

    with pytest.raises(ValueError, match="refused"):
        emit(at(0, 1, 2, 3), refuse, emitted, speed=1, clock=time.clock, wait=time.wait)
    assert emitted.position == 2


@pytest.mark.parametrize("text", ["", "0", "0x", "-1x", "x", "fast", "1e9", "10xx", "Max", "١"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    """Only a positive number, with or without x, and max are speeds."""
    with pytest.raises(ValueError, match="is no speed"):
        parse_speed(text)


def test_speeds() -> None:
    """A factor may have a fraction and an x; max is none."""
    speeds = [parse_speed(text) for text in ("1x", "10x", "0.5x", "2", "max")]
    assert speeds == [1, 10, 0.5, 2, None]


GROUPS = [
    [NewEvent("job.submitted", "a/1", "/p", "1", b'{"kind":"k"}', extensions={"actor": "ü"})],
    [NewEvent("log.restored", "log", "/c", "1", b'{"epoch":2}')],
    [NewEvent("job.started", "a/1", "/p", "2", b"{}", time=START - SECOND)],
]


def test_the_daemons_own_events_have_no_line(tmp_path: Path) -> None:
    """What a producer may send is sent as it would; the rest is counted."""
    with closing(LogFile(fill(tmp_path, GROUPS))) as log:
        found = list(outgoing(log, range(1, 4)))
        assert [each.line is None for each in found] == [False, True, False]
        assert orjson.loads(found[0].line or b"")["actor"] == "ü"
        assert [each.position for each in outgoing(log, range(2, 3))] == [2]
        time = Time()
        emitted = time.emit(found, None)
        assert (emitted.events, emitted.skipped, emitted.position) == (2, 1, 3)
        assert list(outgoing(log, range(4, 4))) == []


def test_preserved_events_are_lines_of_an_export(tmp_path: Path) -> None:
    """All of them, the daemon's own too, byte for byte."""
    path = fill(tmp_path, GROUPS)
    with closing(LogFile(path)) as log:
        found = [each.line for each in outgoing_preserved(log, range(1, 4))]
    assert found == exported(path).splitlines()[1:-1]


def test_an_event_of_a_newer_release_is_not_sent(tmp_path: Path) -> None:
    """Nobody here knows what it means; everything before it goes."""
    groups = [*GROUPS, [NewEvent("job.teleported", "a/1", "/p", "3", b"{}")]]
    time = Time()
    with closing(LogFile(fill(tmp_path, groups))) as log, pytest.raises(NewerEvent):
        emit(
            outgoing(log, range(1, 5)), time.send, Emitted(0),
            speed=1.0, clock=time.clock, wait=time.wait,
        )  # fmt: skip
    assert sum(lines.count(b"\n") for _, lines in time.sent) >= 1


def test_stretches_of_a_log(tmp_path: Path) -> None:
    """Positions are included at both ends; stretches that meet at a time share no event."""
    path = fill(tmp_path, [[event] for group in GROUPS for event in group], step=SECOND)
    now = START + 100 * SECOND

    def stretch(start: str | None = None, end: str | None = None) -> list[int]:
        points: list[Any] = [None if text is None else Point.parse(text) for text in (start, end)]
        with closing(LogFile(path)) as log:
            return list(find_stretch(log, *points, now))

    assert stretch() == [1, 2, 3]
    assert stretch("2", "2") == [2]
    assert stretch("0", "0") == []
    assert stretch("4") == []
    assert stretch("2026-01-01T00:00:01Z") == [3]
    assert stretch(None, "2026-01-01T00:00:01Z") == [1, 2]
    assert stretch("2025-01-01", "2026-01-01") == [1]
    assert stretch("-1s") == []
    with pytest.raises(BeyondHead):
        stretch("5")
    with pytest.raises(Invalid, match="begin with position 3 and end with 1"):
        stretch("3", "1")
