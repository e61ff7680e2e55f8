"""The scheduler: what runs when, what is recorded of it, and who hears of failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from housekeeping import BUSY, DAY, HOUR, MINUTE, SECOND, START, Chore, House

from daemon.eventlog.log import EventLog
from daemon.eventlog.truncation import Bound, Truncation
from daemon.maintenance import scheduler as scheduling
from daemon.maintenance.ledger import KEPT_EVENTS
from daemon.maintenance.task import Outcome
from domain.errors import NotFound, NotReady, StorageFailed
from domain.timestamps import format_timestamp

IDLE = Outcome({"things": 0})
Houses = Callable[..., House]


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[Houses]:
    """Return how houses are made, by the cron texts of their chores; they are closed at the end."""
    made: list[House] = []

    def make(jitter_seconds: float = 0.0, **chores: Chore) -> House:
        texts = {"hourly": "hourly", "daily": "daily", "never": "off"}
        by_text = {texts[word]: chore for word, chore in chores.items()}
        made.append(House(tmp_path, by_text, jitter_seconds=jitter_seconds))
        return made[-1]

    yield make
    for house in made:
        house.close()


def verbs(house: House, name: str) -> list[tuple[str, object]]:
    """Return of each event of a task its verb, with the reason of a start or the outcome."""
    return [
        (event.type.partition(".")[2], event.payload.get("outcome") or event.payload.get("reason"))
        for event in house.runs(name)
    ]


def test_runs_come_at_their_due_times(houses: Houses) -> None:
    """Nothing at the start of a new log; then one run for each due time, with its events."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.pass_time(3 * HOUR)
    assert chore.ran == [START + hour * HOUR for hour in (1, 2, 3)]
    started, finished = house.runs("tidy")[:2]
    assert started.payload == {
        "kind": "tidy",
        "reason": "schedule",
        "due": format_timestamp(START + HOUR),
    }
    assert finished.payload == {
        "kind": "tidy",
        "reason": "schedule",
        "outcome": "succeeded",
        "counts": {"things": 1},
    }
    assert {event.stream for event in house.events()} == {"maintenance/tidy"}
    status = house.status("tidy")
    assert (status.state, status.next_turn) == ("waiting", START + 4 * HOUR)
    assert status.succeeded == START + 3 * HOUR


def test_missed_runs_are_caught_up_once(houses: Houses) -> None:
    """However many due times pass while the daemon is down, one run stands for them."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.pass_time(HOUR)
    house.now += 100 * HOUR + MINUTE
    house.restart()
    house.pass_time(2 * MINUTE)
    assert verbs(house, "tidy")[2:] == [("started", "catch-up"), ("finished", "succeeded")]
    assert house.runs("tidy")[2].payload["due"] == format_timestamp(START + 101 * HOUR)
    house.pass_time(HOUR)
    assert verbs(house, "tidy")[4:] == [("started", "schedule"), ("finished", "succeeded")]


def test_a_log_that_was_never_kept_is_caught_up(houses: Houses) -> None:
    """A due time that passed between two daemons counts, also where no run is in the log."""
    chore = Chore("tidy")
    house = houses(daily=chore)
    house.pass_time(23 * HOUR)
    house.now += 2 * HOUR
    house.kill()
    house.settle()
    assert verbs(house, "tidy") == [("started", "catch-up"), ("finished", "succeeded")]


def test_one_task_runs_at_a_time(houses: Houses) -> None:
    """What is due, or asked for, waits until the run at work has ended."""
    hourly, daily, asked = Chore("hourly"), Chore("daily"), Chore("asked")
    house = houses(hourly=hourly, daily=daily, never=asked)
    house.settle()
    house.now = START + DAY
    waits = house.scheduler.ask("asked", "mara")
    assert house.scheduler.ask("asked") is waits
    assert house.status("asked").state == "asked"
    house.scheduler.step(house.now)
    assert house.status("asked").state == "running"
    again = house.scheduler.ask("asked")
    assert again is not waits
    for _ in range(5):
        assert house.scheduler.step(house.now) is None
    assert (asked.ran, hourly.ran, daily.ran) == ([], [], [])
    house.scheduler.worker.step(house.now)
    house.settle()
    assert [len(each.ran) for each in (asked, hourly, daily)] == [2, 1, 1]
    assert waits.ended.is_set()
    assert waits.run is not None
    assert (waits.run.by, waits.run.counts) == ("mara", {"things": 1})
    assert house.runs("asked")[0].extensions == {"actor": "mara"}
    streams = [event.stream for event in house.events()]
    assert streams[::2] == streams[1::2], "a run began before another had ended"


def test_asking_leaves_the_schedule_alone(houses: Houses) -> None:
    """A run that was asked for stands for no due time, before a restart and after it."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.pass_time(HOUR + 50 * MINUTE)
    house.ask("tidy")
    house.kill()
    house.pass_time(20 * MINUTE)
    assert [event.payload["reason"] for event in house.runs("tidy")[::2]] == [
        "schedule",
        "asked",
        "schedule",
    ]
    assert chore.ran[-1] == START + 2 * HOUR


def test_a_run_that_was_cut_off_is_told_at_the_next_start(houses: Houses) -> None:
    """It is interrupted, not run again for the same due time, and the next one comes."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.settle()
    house.now += HOUR
    house.scheduler.step(house.now)
    house.now += MINUTE
    house.kill()
    house.settle()
    assert verbs(house, "tidy") == [("started", "schedule"), ("finished", "interrupted")]
    assert house.runs("tidy")[1].time == house.now
    assert house.status("tidy").state == "waiting"
    house.pass_time(HOUR)
    assert len(chore.ran) == 1
    assert verbs(house, "tidy")[2:] == [("started", "schedule"), ("finished", "succeeded")]


def test_a_stop_ends_the_run_at_work(houses: Houses) -> None:
    """A task that sees the stop ends early, which is recorded; none begins after it."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    chore.do = lambda _: Outcome({"things": 3}, complete=not house.stopping.is_set())
    house.settle()
    house.now += HOUR
    house.scheduler.step(house.now)
    house.restart()
    assert verbs(house, "tidy") == [("started", "schedule"), ("finished", "interrupted")]
    house.scheduler.stop()
    house.now += 5 * HOUR
    house.settle()
    assert len(house.runs("tidy")) == 2
    with pytest.raises(NotReady):
        house.scheduler.ask("tidy")


def test_a_run_that_cannot_be_done_now_is_skipped(houses: Houses) -> None:
    """That is no failure, and the same is not told twice in a row."""

    def refuse(_: int) -> Outcome:
        raise NotReady("the views are being built")

    house = houses(hourly=Chore("tidy", refuse))
    house.pass_time(3 * HOUR)
    assert verbs(house, "tidy") == [("started", "schedule"), ("finished", "skipped")]
    assert house.runs("tidy")[1].payload["message"] == "the views are being built"
    assert house.events("alert.raised") == []


def test_a_failure_raises_one_alert_until_it_succeeds(houses: Houses) -> None:
    """It is raised with the first failure, also over restarts, and resolved by a success."""
    wrong: list[Exception] = [StorageFailed("the disk says no"), ValueError("oops")]

    def fail(_: int) -> Outcome:
        if wrong:
            raise wrong.pop(0)
        return IDLE

    house = houses(hourly=Chore("tidy", fail))
    house.pass_time(HOUR)
    assert house.status("tidy").state == "failing"
    house.kill()
    house.pass_time(HOUR)
    (raised,) = house.events("alert.raised", "alert.resolved")
    assert raised.subject == "maintenance:tidy"
    assert raised.payload["message"] == "the disk says no"
    assert raised.payload["labels"] == {"task": "tidy"}
    assert house.runs("tidy")[3].payload["message"] == "unexpected: ValueError: oops"
    house.pass_time(2 * HOUR)
    assert [event.type for event in house.events("alert.raised", "alert.resolved")] == [
        "alert.raised",
        "alert.resolved",
    ]
    assert house.status("tidy").state == "waiting"
    wrong.append(StorageFailed("again"))
    house.pass_time(HOUR)
    assert len(house.events("alert.raised")) == 2


def test_findings_are_a_failure_with_counts(houses: Houses) -> None:
    """A task that found something wrong says so with what it counted."""
    bad = Outcome({"findings": 1}, "gap at position 7", ok=False)
    house = houses(hourly=Chore("tidy", lambda _: bad))
    house.pass_time(HOUR)
    payload = house.runs("tidy")[1].payload
    assert (payload["outcome"], payload["counts"]) == ("failed", {"findings": 1})
    assert house.events("alert.raised")[0].payload["message"] == "gap at position 7"


def test_runs_without_work_are_not_recorded_twice_in_a_row(houses: Houses) -> None:
    """The first is, then none until there is something to tell; the board knows of all of them."""
    outcome = [IDLE]
    chore = Chore("tidy", lambda _: outcome[0])
    house = houses(hourly=chore)
    house.pass_time(5 * HOUR)
    assert len(chore.ran) == 5
    assert len(house.runs("tidy")) == 2
    status = house.status("tidy")
    assert not status.recorded
    assert status.last is not None
    assert status.last.started == START + 5 * HOUR
    outcome[0] = BUSY
    house.pass_time(HOUR)
    assert len(house.runs("tidy")) == 4
    assert house.runs("tidy")[2].time == START + 6 * HOUR
    outcome[0] = IDLE
    house.pass_time(4 * HOUR)
    assert len(house.runs("tidy")) == 6
    house.ask("tidy")
    assert len(house.runs("tidy")) == 8


def test_why_nothing_was_done_is_recorded_once(houses: Houses) -> None:
    """A run that does nothing and says why is told again only when it says something else."""
    said = ["it is switched off"]
    chore = Chore("tidy", lambda _: Outcome({"things": 0}, said[0]))
    house = houses(hourly=chore)
    house.pass_time(5 * HOUR)
    assert len(house.runs("tidy")) == 2
    said[0] = "the place is away"
    house.pass_time(5 * HOUR)
    assert [run.payload.get("message") for run in house.runs("tidy")[1::2]] == [
        "it is switched off",
        "the place is away",
    ]


def test_the_last_run_is_recorded_at_a_stop(houses: Houses) -> None:
    """So that the next daemon does not catch up what was seen to; after a crash it may."""
    chore = Chore("tidy", lambda _: IDLE)
    house = houses(hourly=chore)
    house.pass_time(5 * HOUR)
    house.restart()
    house.settle()
    assert len(chore.ran) == 5
    assert house.runs("tidy")[-2].payload["due"] == format_timestamp(START + 5 * HOUR)
    house.pass_time(2 * HOUR)
    house.kill()
    house.settle()
    house.settle()
    assert len(chore.ran) == 8


def test_a_long_run_is_recorded_while_it_goes_on(houses: Houses) -> None:
    """A start that was held back is written when the run takes long: a crash is told then."""
    house = houses(hourly=Chore("tidy", lambda _: IDLE))
    house.pass_time(HOUR)
    house.now += HOUR
    assert house.scheduler.step(house.now) == scheduling.SOON_SECONDS
    assert len(house.runs("tidy")) == 2
    house.now += round(scheduling.SOON_SECONDS * SECOND)
    assert house.scheduler.step(house.now) is None
    assert len(house.runs("tidy")) == 3
    house.kill()
    house.settle()
    assert verbs(house, "tidy")[2:] == [("started", "schedule"), ("finished", "interrupted")]


@pytest.mark.parametrize("back", [MINUTE, 3 * HOUR, 23 * HOUR])
def test_a_clock_that_is_set_back_repeats_nothing(houses: Houses, back: int) -> None:
    """What was seen to is waited for, also after a restart."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.pass_time(30 * HOUR)
    house.now -= back
    house.pass_time(30 * MINUTE)
    house.restart()
    house.pass_time(back + 45 * MINUTE)
    assert len(chore.ran) == 31


def test_a_clock_that_was_far_ahead_holds_nothing_up(houses: Houses) -> None:
    """After it was set right the task runs at once, and then by the right time."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.now += 1000 * DAY
    house.settle()
    house.now = START + 90 * MINUTE
    house.settle()
    assert chore.ran[-1] == START + 90 * MINUTE
    house.pass_time(HOUR)
    assert chore.ran[-1] == START + 2 * HOUR
    assert len(chore.ran) == 3


def test_jitter_is_bounded_and_always_the_same(houses: Houses) -> None:
    """A task is later than its schedule by less than the setting, each time by as much."""
    chore = Chore("tidy")
    house = houses(1800.0, hourly=chore)
    house.pass_time(3 * HOUR, step=SECOND * 10)
    late = house.scheduler.status("tidy").next_turn
    assert late is not None
    offset = late % HOUR
    assert 0 < offset < 30 * MINUTE
    house.restart()
    house.pass_time(HOUR, step=SECOND * 10)
    assert house.scheduler.status("tidy").next_turn == late + HOUR
    assert all(0 <= ran % HOUR - offset <= 10 * SECOND for ran in chore.ran)


def test_an_unknown_task_is_told_the_nearest_one(houses: Houses) -> None:
    """Asking for one that is not there names the one that may be meant."""
    house = houses(hourly=Chore("vacuum"))
    with pytest.raises(NotFound, match="did you mean 'vacuum'"):
        house.scheduler.ask("vacum")


def test_what_the_log_refuses_is_recorded_later(
    houses: Houses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose end could not be recorded keeps the others waiting until it is."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.settle()
    house.now += HOUR
    house.step()

    def refuse(*_: object, **__: object) -> None:
        raise StorageFailed("the disk refuses")

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "work", refuse)
        for _ in range(2):
            with pytest.raises(StorageFailed):
                house.scheduler.step(house.now)
    assert len(house.runs("tidy")) == 1
    house.settle()
    assert verbs(house, "tidy") == [("started", "schedule"), ("finished", "succeeded")]
    assert len(chore.ran) == 1


def test_old_runs_are_removed_from_the_log(houses: Houses) -> None:
    """Of each task the newest events stay, and whoever starts then goes by them."""
    chore = Chore("tidy")
    house = houses(hourly=chore)
    house.pass_time(350 * HOUR, step=HOUR)
    assert len(house.runs("tidy")) == 700
    Truncation(house.log, lambda: Bound(house.log.head() + 1)).run_dry()
    runs = house.runs("tidy")
    assert len(runs) == KEPT_EVENTS
    assert runs[-1].version == 700
    assert house.log.verify() == []
    house.kill()
    house.pass_time(HOUR)
    assert len(chore.ran) == 351
    assert house.status("tidy").succeeded == START + 351 * HOUR
