"""Events of other class versions: older ones are lifted, newer ones told, none passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from log_driving import event, one, sql

from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.requests import EventQuery
from daemon.release import PROGRAM_VERSION, release_order
from domain import catalog
from domain.cloudevents import to_json
from domain.errors import NewerEvent, UnreadableEvent
from domain.job import fold_job, job_view
from domain.payloads.job import JobSubmitted
from projections.runner import ProjectionRunner
from projections.views import Views

NEWER = [
    event(1, "a", type="job.submitted", data=b'{"name":"first"}'),
    event(2, "b", type="job.submitted", data=b'{"name":"second"}'),
    event(3, "a", type="job.teleported", data=b'{"planet":"Mars"}'),
    event(4, "b", type="job.started", data=b"{}", class_version=2),
    event(5, "a", type="job.started", data=b"{}"),
]
"""Events of which the third has an unknown type and the fourth a newer class version."""


@pytest.fixture
def newer(log: EventLog) -> EventLog:
    """Return a log that a newer release has written to."""
    one(log, NEWER)
    return log


@pytest.fixture
def runners(path: Path) -> Iterator[Callable[..., ProjectionRunner]]:
    """Return a maker of runners over a log; all are closed after."""
    made = []

    def make(log: Any) -> ProjectionRunner:
        made.append(ProjectionRunner(path.with_name("views.db"), log))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def test_reading_stops_before_an_event_of_a_newer_release(newer: EventLog) -> None:
    """What comes before it is given; the next read names event, stream, version and release."""
    assert [each.position for each in newer.read(0, 10)] == [1, 2]
    sql(newer.path, "UPDATE log_meta SET value = '9.10.0' WHERE key = 'release'")
    with pytest.raises(NewerEvent) as unknown:
        newer.read(2, 10)
    assert str(unknown.value) == (
        "event 3 ('job.teleported', class version 1, stream 'job/a') needs release 9.10.0"
    )
    assert unknown.value.position == 3
    with pytest.raises(NewerEvent, match=r"event 4 \('job.started', class version 2"):
        newer.read(3, 10)
    assert [each.position for each in newer.read(4, 10)] == [5]


def test_reading_a_stream_stops_there_too(newer: EventLog) -> None:
    """A stream is readable up to such an event, and as of a position before it."""
    assert [each.position for each in newer.read_stream("job/a")] == [1]
    assert newer.read_stream("job/a", after_version=1, upto=2) == []
    with pytest.raises(NewerEvent, match=r"event 3 .* needs a release newer than"):
        newer.read_stream("job/a", after_version=1)


def test_listings_show_such_events_as_they_are_stored(newer: EventLog) -> None:
    """A listing lifts nothing and leaves nothing out; the class version is told."""
    shown = [orjson.loads(to_json(each)) for each in newer.select(EventQuery(), 10).events]
    assert [each["position"] for each in shown] == [1, 2, 3, 4, 5]
    assert shown[2]["data"] == {"planet": "Mars"}
    assert [each.get("classversion") for each in shown] == [None, None, None, 2, None]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_a_log_file_may_leave_them_out(newer: EventLog, limit: int) -> None:
    """For debugging, reading passes over them, whatever the size of a page."""
    with closing(LogFile(Path(newer.path), skip_unknown=True)) as log:
        found, streamed = [], []
        while page := log.read(found[-1] if found else 0, limit):
            found += [each.position for each in page]
        assert found == [1, 2, 5]
        version = 0
        while events := log.read_stream("job/a", after_version=version, limit=limit):
            streamed += [each.position for each in events]
            version = events[-1].version
        assert streamed == [1, 5]


def test_projections_stop_there_and_go_on_after_an_upgrade(
    newer: EventLog, path: Path, runners: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They answer from what is before it, say why they stand still, and know more after."""
    runner = runners(newer)
    runner.catch_up()
    for status in runner.status():
        assert (status.state, status.position, status.failed_position) == ("failed", 2, 3)
        assert status.error is not None
        assert status.error.startswith("NewerEvent: event 3 ('job.teleported'")
    with closing(Views(path.with_name("views.db"))) as views:
        job, as_of = views.job("b")
        assert job is not None
        assert (job["name"], as_of) == ("second", 2)
    one(newer, [event(6, "c", type="job.submitted", data=b"{}")])
    runner.catch_up()
    assert {each.position for each in runner.status()} == {2}
    runner.close()
    for name, class_version in (("job.teleported", 1), ("job.started", 2)):
        as_it_is = {"upcast_v1_v2": staticmethod(lambda payload: payload)}
        model = type("Newer", (JobSubmitted,), {"class_version": class_version, **as_it_is})
        entry = catalog.EventType(name, "job", model, True, class_version, "")
        monkeypatch.setitem(catalog._TYPES, name, entry)  # type: ignore[index]
    with closing(LogFile(path)) as upgraded:
        runner = runners(upgraded)
        runner.catch_up()
    assert {(each.state, each.position) for each in runner.status()} == {("live", 6)}


def test_a_rebuild_stops_there_and_the_live_tables_go_on_answering(
    log: EventLog, path: Path, runners: Any
) -> None:
    """A build that meets such an event fails beside live tables that have failed there too."""
    one(log, NEWER[:2])
    runner = runners(log)
    runner.catch_up()
    one(log, NEWER[2:])
    runner.catch_up()
    runner.request_rebuild("jobs")
    runner.catch_up()
    assert {each.failed_position for each in runner.status()} == {3}
    with closing(Views(path.with_name("views.db"))) as views:
        assert views.job("a")[1] == 2


class Submitted(JobSubmitted):
    """`job.submitted` in a third version: `title` became `label`, and that became `name`."""

    class_version: ClassVar[int] = 3

    @staticmethod
    def upcast_v1_v2(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """`title` to `label`."""
        return {**payload, "label": payload["title"]}

    @staticmethod
    def upcast_v2_v3(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """`label` to `name`."""
        kept = {key: value for key, value in payload.items() if key not in ("title", "label")}
        return {**kept, "name": payload["label"]}


@pytest.fixture
def third_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the catalog know `job.submitted` in class version 3."""
    entry = catalog.EventType("job.submitted", "job", Submitted, True, 3, "")
    monkeypatch.setitem(catalog._TYPES, "job.submitted", entry)  # type: ignore[index]


def test_old_events_are_lifted_on_their_whole_way(
    third_version: None, log: EventLog, path: Path, runners: Any
) -> None:
    """Rows of version 1, 2 and 3 are read, folded and projected alike, and stay as they were."""
    stored = [b'{"title":"one","kind":"k"}', b'{"label":"two","kind":"k"}', b'{"name":"three"}']
    with closing(EventLog.open(path)) as log:
        one(log, [
            event(version, f"j{version}", type="job.submitted", data=data, class_version=version)
            for version, data in enumerate(stored, 1)
        ])  # fmt: skip
        assert [each.payload["name"] for each in log.read(0, 10)] == ["one", "two", "three"]
        for subject, name in (("j1", "one"), ("j2", "two"), ("j3", "three")):
            state = fold_job(None, log.read_stream(f"job/{subject}"))
            assert job_view(state)["name"] == name
        runner = runners(log)
        runner.catch_up()
        with closing(Views(path.with_name("views.db"))) as views:
            found = [views.job(subject)[0] for subject in ("j1", "j2", "j3")]
            assert [job and job["name"] for job in found] == ["one", "two", "three"]
        assert [each.data for each in log.read(0, 10)] == stored
        assert log.verify() == []


def test_an_event_that_cannot_be_lifted_is_named(
    third_version: None, path: Path, runners: Any
) -> None:
    """An upcaster that raises makes one clear error, and the projections stop before the event."""
    with closing(EventLog.open(path)) as log:
        fine = event(1, "j1", type="job.submitted", data=b'{"title":"x"}')
        one(log, [fine, event(2, "j2", type="job.submitted", data=b'{"titel":"x"}')])
        assert len(log.read(0, 10)) == 1
        with pytest.raises(UnreadableEvent) as broken:
            log.read(1, 10)
        assert not isinstance(broken.value, NewerEvent)
        assert str(broken.value) == (
            "event 2 ('job.submitted', class version 1, stream 'job/j2') cannot be lifted: "
            "KeyError: 'title'"
        )
        runner = runners(log)
        runner.catch_up()
        assert {each.failed_position for each in runner.status()} == {2}
        assert len(log.select(EventQuery(), 10).events) == 2


def test_the_log_remembers_the_newest_release_that_wrote_it(
    opened: Callable[..., EventLog], path: Path
) -> None:
    """Opening it to write raises the release, never lowers it; reading it changes nothing."""
    release = "SELECT value FROM log_meta WHERE key = 'release'"
    opened().close()
    assert sql(path, release) == [(PROGRAM_VERSION,)]
    for before, after in (("0.0.9", PROGRAM_VERSION), ("99.0.0", "99.0.0")):
        sql(path, "UPDATE log_meta SET value = ? WHERE key = 'release'", (before,))
        LogFile(path).close()
        assert sql(path, release) == [(before,)]
        opened().close()
        assert sql(path, release) == [(after,)]


def test_releases_are_ordered_by_their_numbers() -> None:
    """Numbers count as numbers, zeros at the end for nothing, and previews come before."""
    ordered = ["nonsense", "0.9", "0.10.dev1", "0.10a2", "0.10rc1", "0.10", "0.10.1", "1.0", "10"]
    assert sorted(ordered, key=release_order) == ordered
    assert release_order("0.10") == release_order("0.10.0")
