"""Differences and steps over real HTTP, against models that fold the log by themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import httpx
import pytest
from api_server import ApiServer, event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.api import log_reads
from daemon.replay import changed_jobs
from domain.job import TERMINAL

TIME = "2026-02-04T10:00:{:02}Z"

STORY = (
    event("job.submitted", "a/1", {"kind": "k", "params": {"n": 1}}, time=TIME.format(0)),
    event("job.started", "a/1", {"worker": "w1"}, time=TIME.format(10)),
    event("alert.raised", "full", {"severity": "error", "labels": {"host": "x"}}),
    event("job.failed", "a/1", {"error": {"message": "no"}}, time=TIME.format(20)),
    event("job.queued", "a/1", {"queue": "q"}, time=TIME.format(5)),
    event("job.queued", "a/1", time=TIME.format(6)),
    event("file.observed", "f", {"size": 3}),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Return one server that knows the story."""
    with ApiServer(tmp_path_factory.mktemp("data")) as server:
        server.post(*STORY)
        yield server


@pytest.fixture
def told(shared: ApiServer) -> Iterator[httpx.Client]:
    """Return a client of the server that knows the story."""
    with shared.client() as client:
        yield client


def got(client: httpx.Client, path: str, **params: Any) -> Any:
    """Return the JSON of a GET that succeeds."""
    response = client.get(path, params={name.rstrip("_"): v for name, v in params.items()})
    assert response.status_code == 200, response.text
    return response.json()


def pages(client: httpx.Client, path: str, **params: Any) -> list[Any]:
    """Return every page of a list."""
    found = [got(client, path, **params)]
    while found[-1]["next"] is not None:
        assert len(found) < 1000
        found.append(got(client, path, **params, cursor=found[-1]["next"]))
    return found


def test_a_difference_names_each_field_and_the_event_that_changed_it(told: httpx.Client) -> None:
    """From running to failed: status, error and times, each by the event that failed it."""
    answer = got(told, "/api/diff", stream="job/a/1", from_=2)
    changes = {change["field"]: change for change in answer["changes"]}
    assert (answer["from"], answer["to"], answer["as_of"], answer["events"]) == (2, 7, 7, 3)
    failed, queued = STORY[3], STORY[4]
    assert changes["/status"] == {
        "field": "/status",
        "from": "running",
        "to": "failed",
        "event": {"id": failed["id"], "type": "job.failed", "position": 4, "time": failed["time"]},
    }
    assert (changes["/error/message"]["from"], changes["/error/message"]["to"]) == (None, "no")
    assert changes["/queue"]["event"]["id"] == queued["id"]
    assert changes.keys() == {
        "/status", "/error/message", "/ended", "/run_seconds", "/queue",
    }  # fmt: skip
    assert answer["before"] == without_as_of(got(told, "/api/jobs/a/1", as_of=2))
    assert answer["after"] == without_as_of(got(told, "/api/jobs/a/1"))


def without_as_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without the position it shows."""
    return {name: value for name, value in item.items() if name != "as_of"}


def test_a_difference_from_the_beginning_tells_everything(told: httpx.Client) -> None:
    """Without points: from before the first event to the head."""
    answer = got(told, "/api/diff", stream="job/a/1")
    changes = {change["field"]: change["to"] for change in answer["changes"]}
    assert answer["before"] is None
    assert (changes["/kind"], changes["/params/n"], changes["/status"]) == ("k", 1, "failed")
    nothing = got(told, "/api/diff", stream="job/a/1", from_=7)
    assert (nothing["changes"], nothing["events"]) == ([], 0)
    assert nothing["before"] == nothing["after"]


def test_alerts_and_files_have_differences_too(told: httpx.Client) -> None:
    """By their own fields."""
    alert = got(told, "/api/diff", stream="alert/full")
    assert {"/severity", "/labels/host", "/count"} <= {c["field"] for c in alert["changes"]}
    assert got(told, "/api/diff", stream="file/f")["after"]["size"] == 3


def test_points_are_named_by_time_too(told: httpx.Client) -> None:
    """A moment before the log, and the present, are the whole history."""
    answer = got(told, "/api/diff", stream="job/a/1", from_="2020-01-01", to="-0s")
    assert (answer["from"], answer["to"]) == (0, 7)


def test_steps_tell_what_each_event_changed(told: httpx.Client) -> None:
    """In log order, with the state after each; what comes late may change a detail or nothing."""
    items = got(told, "/api/steps", stream="job/a/1")["items"]
    assert [step["event"]["type"] for step in items] == [
        "job.submitted", "job.started", "job.failed", "job.queued", "job.queued",
    ]  # fmt: skip
    assert [step["late"] for step in items] == [False, False, False, True, True]
    assert items[3]["changes"] == [{"field": "/queue", "from": None, "to": "q"}]
    assert items[4]["changes"] == []
    for step in items:
        then = got(told, "/api/jobs/a/1", as_of=step["event"]["position"])
        assert step["state"] == without_as_of(then)


def test_steps_come_in_pages_of_one_position(server: ApiServer, client: httpx.Client) -> None:
    """Each step once, whatever is recorded meanwhile; `after` begins at a version."""
    server.post(*STORY)
    whole = got(client, "/api/steps", stream="job/a/1")["items"]
    first = got(client, "/api/steps", stream="job/a/1", limit=2)
    server.post(event("job.progressed", "a/1"))
    rest = got(client, "/api/steps", stream="job/a/1", limit=4, cursor=first["next"])
    assert first["items"] + rest["items"] == whole
    assert (rest["next"], rest["as_of"]) == (None, 7)
    assert got(client, "/api/steps", stream="job/a/1", after=3, limit=2)["items"] == whole[3:]


def test_a_page_of_large_steps_is_short(server: ApiServer, client: httpx.Client) -> None:
    """Each step holds the whole state; a page ends by its size as well."""
    params = {"x": "y" * 200_000}
    server.post(*(event("job.submitted", "a", {"params": params}) for _ in range(20)))
    found = pages(client, "/api/steps", stream="job/a")
    assert len(found) > 2
    assert sum(len(page["items"]) for page in found) == 20


REFUSED = [
    ("/api/diff", 422, "invalid", "stream"),
    ("/api/diff?stream=job/a/1&jobs=true", 422, "invalid", "stream"),
    ("/api/diff?stream=job/a/1&kind=k", 422, "invalid", "kind"),
    ("/api/diff?stream=jib/a", 422, "invalid", "stream"),
    ("/api/diff?stream=queue/images", 422, "invalid", "stream"),
    ("/api/diff?stream=job", 422, "invalid", "stream"),
    ("/api/diff?stream=job/a/1&from=5&to=3", 422, "invalid", "from"),
    ("/api/diff?jobs=true&from=noon", 422, "invalid", "from"),
    ("/api/diff?jobs=true&status=done", 422, "invalid", "status"),
    ("/api/diff?jobs=true&form=3", 422, "invalid", "form"),
    ("/api/diff?jobs=true&from_=3", 422, "invalid", "from_"),
    ("/api/diff?jobs=true&from=99", 409, "beyond_head", None),
    ("/api/diff?jobs=true&to=2999-01-01", 409, "beyond_head", None),
    ("/api/diff?jobs=true&cursor=x", 422, "invalid_cursor", None),
    ("/api/diff?stream=job/none", 404, "not_found", None),
    ("/api/diff?stream=alert/full&to=2", 404, "not_found", None),
    ("/api/steps", 422, "invalid", "stream"),
    ("/api/steps?stream=result/x", 422, "invalid", "stream"),
    ("/api/steps?stream=job/none", 404, "not_found", None),
    ("/api/steps?stream=job/a/1&position=3", 422, "invalid", "position"),
]


@pytest.mark.parametrize(("path", "status", "code", "parameter"), REFUSED)
def test_what_cannot_be_compared_is_refused(
    told: httpx.Client, path: str, status: int, code: str, parameter: str | None
) -> None:
    """With one clear error that names the parameter."""
    response = told.get(path)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    if parameter is not None:
        assert [fault["parameter"] for fault in problem["errors"]] == [parameter]


def test_a_cursor_belongs_to_its_difference(told: httpx.Client) -> None:
    """Neither other points nor other filters take it."""
    cursor = got(told, "/api/diff", jobs="true", limit=1)["next"]
    assert cursor is not None
    for params in ({"from": 1}, {"kind": "k"}):
        asked = {"jobs": "true", "cursor": cursor, **params}
        assert told.get("/api/diff", params=asked).json()["code"] == "invalid_cursor"


JOBS = st.tuples(
    st.sampled_from(["submitted", "started", "progressed", "failed", "succeeded", "retried"]),
    st.sampled_from("abcde"),
    st.integers(0, 50),
)


def modelled(client: httpx.Client, since: int, upto: int) -> dict[str, dict[str, Any]]:
    """Return what differs as two answers about every job tell it, by id."""
    found = {}
    for job in "abcde":
        then, now = (client.get(f"/api/jobs/{job}?as_of={at}") for at in (since, upto))
        if now.status_code == 404:
            continue
        before = then.json() if then.status_code == 200 else None
        after = now.json()
        count = after["events"] - (before["events"] if before else 0)
        ended = after["status"] in TERMINAL and (
            before is None
            or (before["status"], before["ended"]) != (after["status"], after["ended"])
        )
        if count and (before is None or ended or before["status"] != after["status"]):
            found[job] = {
                "appeared": before is None,
                "ended": ended,
                "from": before and before["status"],
                "to": after["status"],
                "from_attempt": before and before["attempt"],
                "to_attempt": after["attempt"],
                "events": count,
            }
    return found


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JOBS, min_size=1, max_size=25), st.data())
def test_the_jobs_that_differ_are_those_of_a_model(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Any], data: st.DataObject
) -> None:
    """Between any two positions of any log, on pages of any size: each job once, and right."""
    with ApiServer(tmp_path_factory.mktemp("data")) as server, server.client() as client:
        events = [event(f"job.{verb}", job, time=TIME.format(at)) for verb, job, at in drawn]
        # Other streams lie between.
        events[1:1] = [event("queue.paused", "a")]
        head = server.post(*events)
        since = data.draw(st.integers(0, head))
        upto = data.draw(st.integers(since, head))
        limit = data.draw(st.integers(1, 6))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(changed_jobs, "SCAN_POSITIONS", data.draw(st.integers(1, 30)))
            patch.setattr(changed_jobs, "_STREAMS", data.draw(st.integers(1, 5)))
            found = pages(client, "/api/diff", jobs="true", from_=since, to=upto, limit=limit)
        assert all((page["from"], page["to"], page["as_of"]) == (since, upto, upto)
                   for page in found)  # fmt: skip
        items = [item for page in found for item in page["items"]]
        wanted = modelled(client, since, upto)
        assert {item["id"]: {name: item[name] for name in wanted[item["id"]]} for item in items
                if item["id"] in wanted} == wanted  # fmt: skip
        assert len(items) == len(wanted)
        for item in items:
            [step] = got(client, "/api/events", after=item["position"] - 1, limit=1)["items"]
            assert step["subject"] == item["id"]
            assert since < item["position"] <= upto


def test_the_jobs_that_differ_can_be_filtered(told: httpx.Client) -> None:
    """By kind, name and the status at the later point."""

    def ids(**params: Any) -> list[str]:
        [page] = pages(told, "/api/diff", jobs="true", **params)[-1:]
        return [item["id"] for item in page["items"]]

    assert ids() == ids(kind="k") == ids(status="failed,lost") == ["a/1"]
    assert ids(kind="x") == ids(name="x") == ids(status="running") == []


def test_events_of_other_applications_are_no_jobs(server: ApiServer, client: httpx.Client) -> None:
    """Rows of the `eventsourcing` library in the same file are passed over."""
    server.post(event("job.submitted", "a"), event("job.started", "a"), event("job.lost", "b"))
    # As if an application without a name had events in the stream of a job, and another its own.
    other = apsw.Connection(server.log.path)
    other.execute(
        "UPDATE events SET event_key = NULL WHERE position = 1;"
        "UPDATE streams SET application = 'other' WHERE name = 'job/b'"
    )
    other.close()
    [page] = pages(client, "/api/diff", jobs="true")
    assert [(item["id"], item["events"]) for item in page["items"]] == [("a", 1)]


def test_a_point_before_the_kept_history_is_410(server: ApiServer, client: httpx.Client) -> None:
    """Where the oldest events are gone, a point before them cannot be answered."""
    server.post(event("job.submitted", "a"), event("job.started", "a"), event("job.lost", "a"))
    other = apsw.Connection(server.log.path)
    other.execute("DELETE FROM events WHERE position < 3")
    other.close()
    response = client.get("/api/diff?jobs=true&from=1")
    assert (response.status_code, response.json()["code"]) == (410, "before_history")


def test_a_page_that_has_used_its_time_ends_early(
    servers: Callable[..., ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With little time each page shows some jobs, and together they show all."""
    # Time goes by with each look at the clock: how busy the machine is has no say.
    looks = itertools.count()
    for module in (log_reads, changed_jobs):
        monkeypatch.setattr(module, "monotonic", lambda: next(looks) * 0.001)
    server = servers(read_seconds_max=0.1)
    server.post(*(event("job.submitted", f"j{n}") for n in range(300)))
    with server.client() as client:
        found = pages(client, "/api/diff", jobs="true", limit=1000)
    assert len(found) > 5
    assert sum(len(page["items"]) for page in found) == 300
