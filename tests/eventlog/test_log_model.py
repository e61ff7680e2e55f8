"""The log against a model of it in a few lines of Python, under random requests and failures."""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
from faulty_disk import FaultyDisk, bad_sector, failed_sync, no_room
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from log_driving import Clock, drive

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, DeadLetter, Follow
from domain.errors import DiskFull, StorageFailed, VersionConflict
from domain.events import NewEvent


@dataclass
class Model:
    """What the log is to hold: its events in order, letters with counts, offsets."""

    events: list[tuple[str, int, str, bytes]] = field(default_factory=list)
    letters: dict[bytes, int] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)

    def append(self, request: Append) -> list[tuple[int, int, bool, bool]] | None:
        """Do a request; return (position, version, duplicate, differs) of each, None if refused."""
        before = copy.deepcopy(self)
        receipts = []
        for event in request.events:
            same = [e for e in self.events if (e[0], e[2]) == (event.stream, event.id)]
            version = sum(e[0] == event.stream for e in self.events)
            if same:
                position = self.events.index(same[0]) + 1
                receipts.append((position, same[0][1], True, same[0][3] != event.data))
            elif event.expected_version not in (None, version):
                self.__dict__.update(before.__dict__)
                return None
            else:
                self.events.append((event.stream, version + 1, event.id, event.data))
                receipts.append((len(self.events), version + 1, False, False))
        follow = request.follow
        if follow and follow.end <= self.offsets.get(follow.name, 0):
            return receipts
        if follow:
            self.offsets[follow.name] = follow.end
        for letter in request.dead_letters:
            self.letters[letter.raw] = self.letters.get(letter.raw, 0) + 1
        return receipts


new_events = st.builds(
    NewEvent,
    type=st.just("job.progressed"),
    subject=st.sampled_from(["a", "b", "c"]),
    source=st.just("/t"),
    id=st.integers(0, 15).map(str),
    data=st.sampled_from([b"{}", b'{"x":1}']),
    time=st.none(),
    extensions=st.none(),
    expected_version=st.none() | st.integers(0, 5),
    class_version=st.just(1),
)
letters = st.builds(
    DeadLetter,
    format=st.just("f"),
    raw=st.sampled_from([b"x", b"y"]),
    reason=st.just("r"),
    detail=st.just("d"),
    origin=st.just("o"),
)
follows = st.builds(
    Follow, name=st.sampled_from(["p", "q"]), start=st.just(0), end=st.integers(1, 9)
)
requests = st.builds(
    Append,
    events=st.lists(new_events, max_size=5),
    dead_letters=st.lists(letters, max_size=2),
    follow=st.none() | follows,
)
groups = st.lists(requests, min_size=1, max_size=5)
failures = st.tuples(
    st.sampled_from([("write", no_room), ("write", bad_sector), ("sync", failed_sync)]),
    st.integers(0, 6),
)


class LogMachine(RuleBasedStateMachine):
    """Groups of requests, some on a failing disk, restarts, and another process beside."""

    @initialize()
    def open(self) -> None:
        """Begin with an empty log."""
        self.directory = Path(tempfile.mkdtemp())
        self.disk = FaultyDisk()
        self.clock = Clock()
        self.model = Model()
        self.log = self.opened()

    def opened(self) -> EventLog:
        """Open the log."""
        return EventLog.open(self.directory / "log.db", clock=self.clock, vfs=self.disk.name)

    def expect(self, outcomes, group: list[Append]) -> None:
        """Compare the outcomes of a group with the model's."""
        for outcome, request in zip(outcomes, group, strict=True):
            expected = self.model.append(request)
            if expected is None:
                assert isinstance(outcome, VersionConflict)
            else:
                found = [(r.position, r.version, r.duplicate, r.differs) for r in outcome.receipts]
                assert found == expected

    @rule(group=groups, careful=st.booleans())
    def append(self, group: list[Append], careful: bool) -> None:
        """Do a group of requests in one commit; the writer expects repeats, or does not."""
        self.log.writer._careful_groups = int(careful)
        self.expect(drive(self.log, *group), group)

    @rule(group=groups, failure=failures)
    def append_on_a_failing_disk(self, group: list[Append], failure) -> None:
        """Nothing of a group is there when the disk fails; all of it when the fault came late."""
        (operation, error), skip = failure
        fault = self.disk.fail(operation, "-wal", error, skip=skip)
        outcomes = drive(self.log, *group)
        self.disk.heal()
        if fault.fired:
            assert all(isinstance(outcome, DiskFull | StorageFailed) for outcome in outcomes)
            assert not self.log.health.ok
        else:
            self.expect(outcomes, group)

    @rule()
    def rest(self) -> None:
        """With nothing to do the writer looks after the disk."""
        self.log.writer.step(self.clock())
        assert self.log.health.ok

    @rule(group=groups)
    def append_from_elsewhere(self, group: list[Append]) -> None:
        """Another process appends to the same file."""
        other = self.opened()
        self.expect(drive(other, *group), group)
        other.close()

    @rule()
    def restart(self) -> None:
        """Close the log and open it again."""
        self.log.close()
        self.log = self.opened()
        self.log.verify_tail()

    @rule(microseconds=st.integers(-1_000_000, 1_000_000))
    def set_clock(self, microseconds: int) -> None:
        """Time passes, or jumps back."""
        self.clock.now += microseconds

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """Events, letters and offsets are those of the model, in its order."""
        found = self.log.read(0, 10_000)
        assert [e.position for e in found] == list(range(1, len(found) + 1))
        assert [(e.stream, e.version, e.id, e.data) for e in found] == self.model.events
        kept = {d.kept: d.count for d in self.log.list_dead_letters(0, 100)}
        assert kept == self.model.letters
        for name in "pq":
            assert self.log.follow_offset(name) == self.model.offsets.get(name, 0)

    def teardown(self) -> None:
        """End with a log that verifies."""
        if hasattr(self, "log"):
            assert self.log.verify() == []
            self.log.close()
            self.disk.unregister()
            shutil.rmtree(self.directory)


LogMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestLogAgainstItsModel = LogMachine.TestCase
