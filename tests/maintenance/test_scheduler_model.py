"""Weeks of a daemon that is killed, stopped and asked, under a clock that jumps: what must hold."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from housekeeping import BUSY, DAY, HOUR, MINUTE, Chore, House
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemon.maintenance.runs import FINISHED, STARTED
from daemon.maintenance.task import Outcome
from domain.errors import NotReady, StorageFailed
from domain.events import RecordedEvent
from domain.timestamps import parse_timestamp

TEXTS = {"*/30 * * * *": "often", "hourly": "hourly", "30 3 * * *": "nightly", "off": "asked"}
NAMES = st.sampled_from(list(TEXTS.values()))
BACK_MAX = 20 * HOUR
"""Together the clock is not set back by more, so that all of it is waited for."""


def outcomes() -> st.SearchStrategy[str]:
    """Return how the next runs go."""
    return st.sampled_from(["busy", "busy", "idle", "fail", "skip"])


class Weeks(RuleBasedStateMachine):
    """Each rule is something that happens to the daemon; the log tells what came of it."""

    @initialize(jitter=st.sampled_from([0.0, 60.0, 1800.0]))
    def begin(self, jitter: float) -> None:
        """Make a new log and its first daemon."""
        self.folder = tempfile.TemporaryDirectory()
        self.how = "busy"
        chores = {text: Chore(name, self.do) for text, name in TEXTS.items()}
        self.house = House(Path(self.folder.name), chores, jitter_seconds=jitter)
        self.back = 0
        self.at_work = False

    def do(self, _: int) -> Outcome:
        """Go as the test says."""
        assert not self.at_work, "two runs at once"
        self.at_work = True
        try:
            if self.how == "fail":
                raise StorageFailed("no")
            if self.how == "skip":
                raise NotReady("not now")
            return BUSY if self.how == "busy" else Outcome({"things": 0})
        finally:
            self.at_work = False

    @rule(how=outcomes())
    def change(self, how: str) -> None:
        """From now on runs go like this."""
        self.how = how

    @rule(hours=st.integers(1, 12))
    def live(self, hours: int) -> None:
        """Time goes by."""
        self.house.pass_time(hours * HOUR, step=15 * MINUTE)
        self.check_seen()

    @rule(hours=st.integers(0, 400), clean=st.booleans())
    def rest(self, hours: int, clean: bool) -> None:
        """Leave it down for a while, after a crash or a stop; then all is caught up once."""
        if clean:
            self.house.restart()
        else:
            self.house.kill()
        self.house.now += hours * HOUR
        before = {name: len(self.scheduled(name)) for name in TEXTS.values()}
        self.house.settle()
        for name, count in before.items():
            assert len(self.scheduled(name)) - count <= 1, "caught up more than once"
        self.check_seen()

    @rule(steps=st.integers(0, 4))
    def kill_within(self, steps: int) -> None:
        """Kill the daemon at any step, also while a run is at work."""
        for number in range(steps):
            self.house.now += 20 * MINUTE
            self.house.scheduler.step(self.house.now)
            if number % 2:
                self.house.scheduler.worker.step(self.house.now)
        self.house.kill()

    @rule(minutes=st.integers(1, 300))
    def set_back(self, minutes: int) -> None:
        """Set the clock back."""
        if self.back + minutes * MINUTE <= BACK_MAX:
            self.back += minutes * MINUTE
            self.house.now -= minutes * MINUTE
            self.house.settle()

    @rule(hours=st.integers(1, 200))
    def set_ahead(self, hours: int) -> None:
        """Set the clock ahead."""
        self.house.now += hours * HOUR
        self.house.settle()
        self.check_seen()

    @rule(name=NAMES)
    def ask(self, name: str) -> None:
        """Somebody asks for a run, and gets one."""
        asked = self.house.ask(name, "mara")
        assert asked.run is not None
        assert asked.run.result is not None

    @invariant()
    def never_two_at_once(self) -> None:
        """In the log each start is followed by its own end, before any other start."""
        if not hasattr(self, "house"):
            return
        present: RecordedEvent | None = None
        for event in self.house.events(STARTED, FINISHED):
            if event.type == STARTED:
                # Only one that a crash cut off has no end yet, until the next start of a daemon.
                present = event
            else:
                assert present is not None
                assert present.stream == event.stream
                present = None

    @invariant()
    def never_twice_for_one_due_time(self) -> None:
        """Of the recorded runs that came by schedule, each sees to later due times."""
        if not hasattr(self, "house"):
            return
        for name in TEXTS.values():
            dues = [parse_timestamp(event.payload["due"]) for event in self.scheduled(name)]
            assert dues == sorted(set(dues)), name

    def scheduled(self, name: str) -> list[RecordedEvent]:
        """Return the starts that came by schedule."""
        return [
            event
            for event in self.house.runs(name)
            if event.type == STARTED and event.payload["reason"] != "asked"
        ]

    def check_seen(self) -> None:
        """Nothing that is due waits, once the daemon has looked."""
        for status in self.house.scheduler.statuses():
            assert status.next_turn is None or status.next_turn > self.house.now, status

    def teardown(self) -> None:
        """Close the log; nothing is wrong with it."""
        if hasattr(self, "house"):
            assert list(self.findings()) == []
            self.house.close()
            self.folder.cleanup()

    def findings(self) -> Iterator[object]:
        """Yield what verification finds, and alerts that do not take turns."""
        yield from self.house.log.verify()
        open_ = dict.fromkeys(TEXTS.values(), False)
        for event in self.house.events("alert.raised", "alert.resolved"):
            name = event.subject.partition(":")[2]
            if open_[name] is (event.type == "alert.raised"):
                yield event
            open_[name] = not open_[name]


TestWeeks = Weeks.TestCase
TestWeeks.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    # What fails is told as it was found: a shorter way to it takes minutes to look for.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


def test_many_due_times_cost_little(tmp_path: Path) -> None:
    """A year without a daemon, of a task that is due each minute, is one run."""
    chore = Chore("often")
    house = House(tmp_path, {"* * * * *": chore})
    house.settle()
    house.now += 365 * DAY
    house.settle()
    assert len(chore.ran) == 1
    house.close()
