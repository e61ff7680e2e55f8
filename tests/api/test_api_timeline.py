"""One story over real HTTP: a family of jobs and what is tied to it, among much that is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event

from daemon.replay import timeline
from projections import relations

RUN = {"correlationid": "run-1"}


def at(minute: int) -> dict[str, str]:
    """Return the attribute for a time."""
    return {"time": f"2026-02-04T10:{minute:02}:00Z"}


FAMILY = (
    event("file.observed", "in.csv", {"size": 3}, id="seen", **at(0)),
    event("job.submitted", "grand", {"kind": "plan"}, id="plan", **at(1)),
    event("job.submitted", "top", {"kind": "etl", "name": "load", "parent": "grand"},
          causationid="seen", id="go", **RUN, **at(2)),
    event("file.matched", "in.csv", {"jobs": ["top"]}, causationid="seen", **at(3)),
    event("job.submitted", "kid", {"kind": "step", "parent": "top"}, **at(4)),
    event("job.submitted", "kid-kid", {"kind": "step", "parent": "kid"}, id="deep", **at(5)),
    event("job.failed", "top", {"error": {"message": "no"}}, id="fell", **RUN, **at(9)),
    event("job.retried", "top", {"next": "top-2"}, **at(10)),
    event("job.submitted", "top-2", {"kind": "etl", "name": "load", "attempt": 2}, **RUN, **at(11)),
    event("job.linked", "top", {"to": "friend", "role": "twin"}, **at(12)),
    event("job.submitted", "friend", {"kind": "other"}, **at(13)),
    event("alert.raised", "top-fell", {"severity": "error", "job": "top"}, **at(14)),
    event("result.recorded", "kid/out", {"job": "kid", "kind": "CSV"}, **at(15)),
    event("queue.paused", "q", {"reason": "no"}, causationid="fell", **at(16)),
    event("job.submitted", "same-run", {"kind": "check"}, **RUN, **at(17)),
    event("alert.raised", "of-run", {"severity": "info"}, **RUN, **at(18)),
)  # fmt: skip
NOISE = (
    event("job.submitted", "aunt", {"kind": "etl", "name": "load", "parent": "grand"}, **at(6)),
    event("job.submitted", "stranger", {"kind": "etl", "name": "load"}, correlationid="run-2"),
    event("alert.raised", "strange", {"severity": "error", "job": "stranger"}, **at(2)),
    event("alert.raised", "of-friend", {"severity": "error", "job": "friend"}, **at(2)),
    event("result.recorded", "other", {"job": "kid-2"}, **at(2)),
    event("queue.paused", "elsewhere", {}, causationid="top", **at(2)),
    event("job.submitted", "of-friends-run", {}, causationid="plan", **at(7)),
)
TIED = {
    "job/top": ("self", None),
    "job/grand": ("parent", "job/top"),
    "job/top-2": ("attempt", "job/top"),
    "alert/top-fell": ("alert", "job/top"),
    "file/in.csv": ("file", "job/top"),
    "job/kid": ("child", "job/top"),
    "job/kid-kid": ("child", "job/kid"),
    "result/kid/out": ("result", "job/kid"),
    "job/friend": ("linked", "job/top"),
    "queue/q": ("effect", "job/top"),
    "job/same-run": ("correlation", "job/top"),
    "alert/of-run": ("correlation", "job/top"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Return one server that knows the family and the noise."""
    with ApiServer(tmp_path_factory.mktemp("data")) as server:
        server.post(*NOISE[:3], *FAMILY[:8], *NOISE[3:], *FAMILY[8:])
        yield server


@pytest.fixture
def told(shared: ApiServer) -> Iterator[httpx.Client]:
    """Return a client of that server."""
    with shared.client() as client:
        yield client


def story(client: httpx.Client, **params: Any) -> Any:
    """Return a whole timeline as one answer, and see that each page tells of the same entities."""
    answer: Any = None
    for _ in range(500):
        response = client.get("/api/timeline", params=params)
        assert response.status_code == 200, response.text
        page = response.json()
        if answer is None:
            answer = page
        else:
            for name in ("entities", "as_of", "truncated", "unresolved"):
                assert page[name] == answer[name]
            answer["items"] += page["items"]
        if page["next"] is None:
            return answer
        params["cursor"] = page["next"]
    raise AssertionError("the pages do not end")


def ties(answer: Any) -> dict[str, tuple[str, str | None]]:
    """Return how each entity is tied, and to what."""
    return {each["stream"]: (each["relation"], each["from"]) for each in answer["entities"]}


def test_a_story_is_all_that_is_tied_and_nothing_else(told: httpx.Client) -> None:
    """Parents, children, attempts, links, files, alerts, results, effects, the run; no noise."""
    answer = story(told, job="top")
    assert ties(answer) == TIED
    assert (answer["truncated"], answer["unresolved"]) == (False, [])
    assert [item["event"]["id"] for item in answer["items"]] == [each["id"] for each in FAMILY]
    for item in answer["items"]:
        assert item["relation"] == TIED[item["entity"]][0]
    top = answer["entities"][0]
    assert (top["status"], top["kind"], top["events"]) == ("failed", "etl", 4)
    assert (top["first"], top["last"]) == (at(2)["time"], at(12)["time"])


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_of_a_story_join(told: httpx.Client, limit: int) -> None:
    """Whatever their size, the pages together are the story."""
    assert story(told, job="top", limit=limit)["items"] == story(told, job="top")["items"]


def test_pages_show_the_position_of_the_first(server: ApiServer, client: httpx.Client) -> None:
    """What is recorded between two pages, and what it ties, is on neither."""
    server.post(*FAMILY)
    whole = story(client, job="top")
    first = client.get("/api/timeline", params={"job": "top", "limit": 4}).json()
    server.post(
        event("job.progressed", "top", {"fraction": 0.5}, **at(3)),
        event("job.linked", "top", {"to": "grand-friend"}),
        event("job.submitted", "kid-3", {"parent": "top"}, **at(1)),
    )
    rest = story(client, job="top", limit=4, cursor=first["next"])
    assert first["items"] + rest["items"] == whole["items"]
    assert rest["entities"] == whole["entities"]
    assert "job/kid-3" in ties(story(client, job="top"))


def test_a_story_can_be_told_as_of_a_point(told: httpx.Client) -> None:
    """Each entity as it was then; what had not happened is not there."""
    everything = story(told, job="top")
    fell = next(each for each in everything["items"] if each["event"]["id"] == "fell")
    position = fell["event"]["position"]
    answer = story(told, job="top", as_of=position, limit=3)
    assert answer["as_of"] == position
    assert all(item["event"]["position"] <= position for item in answer["items"])
    assert ties(answer) == {
        stream: TIED[stream]
        for stream in ("job/top", "job/grand", "file/in.csv", "job/kid", "job/kid-kid")
    }


def test_the_root_of_a_family_knows_all_of_it(told: httpx.Client) -> None:
    """From the topmost parent every job below it is a child, under its own parent."""
    found = ties(story(told, job="grand"))
    assert found["job/aunt"] == ("child", "job/grand")
    assert found["job/kid-kid"] == ("child", "job/kid")
    assert found["job/top-2"] == ("attempt", "job/top")
    assert found["alert/top-fell"] == ("alert", "job/top")
    assert found["job/of-friends-run"] == ("effect", "job/grand")
    assert "job/stranger" not in found


def test_causes_are_found_in_streams_that_nothing_else_ties(told: httpx.Client) -> None:
    """The log is searched backwards for the event that a causationid names."""
    assert ties(story(told, stream="queue/q")) == {
        "queue/q": ("self", None),
        "job/top": ("cause", "queue/q"),
    }
    assert ties(story(told, job="of-friends-run"))["job/grand"] == ("cause", "job/of-friends-run")


def test_a_cause_that_is_nowhere_is_unresolved(told: httpx.Client) -> None:
    """Its id is said; a later event with that id is no cause."""
    answer = story(told, stream="queue/elsewhere")
    assert answer["unresolved"] == ["top"]
    assert ties(answer) == {"queue/elsewhere": ("self", None)}


def test_alerts_and_files_have_stories(told: httpx.Client) -> None:
    """An alert's job; a file's jobs, and what its events caused."""
    assert ties(story(told, stream="alert/top-fell")) == {
        "alert/top-fell": ("self", None),
        "job/top": ("job", "alert/top-fell"),
    }
    assert ties(story(told, stream="file/in.csv")) == {
        "file/in.csv": ("self", None),
        "job/top": ("job", "file/in.csv"),
    }


def test_a_run_is_a_story_too(told: httpx.Client) -> None:
    """By its correlation: its jobs, what is tied to them, and what else has it."""
    found = ties(story(told, correlation="run-1", limit=5))
    assert found["job/top"] == found["job/same-run"] == ("correlation", None)
    assert found["alert/of-run"] == ("correlation", None)
    assert found["job/kid"] == ("child", "job/top")
    assert found["alert/top-fell"] == ("alert", "job/top")
    assert found.keys().isdisjoint({"job/stranger", "job/aunt", "job/grand"})


def test_a_long_job_leaves_room_for_the_others(
    servers: Callable[..., ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many events the first and the last are told, and that there are more."""
    monkeypatch.setattr(timeline, "OWN_MAX", 10)
    server = servers()
    server.post(
        event("job.submitted", "a"),
        *(event("job.progressed", "a", {"fraction": n / 100}) for n in range(50)),
        event("alert.raised", "x", {"severity": "error", "job": "a"}),
        event("job.failed", "a"),
    )
    with server.client() as client:
        answer = story(client, job="a", limit=4)
    types = [item["event"]["type"] for item in answer["items"]]
    assert len(types) == 11
    assert (types[0], types[-2:]) == ("job.submitted", ["alert.raised", "job.failed"])
    assert answer["truncated"]
    assert [(each["status"], each["events"]) for each in answer["entities"]] == [
        ("failed", 52), ("open", 1),
    ]  # fmt: skip


def test_a_story_holds_a_bounded_number_of_entities(
    servers: Callable[..., ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is over it is left out, and said."""
    monkeypatch.setattr(relations, "ENTITIES_MAX", 5)
    server = servers()
    server.post(
        event("job.submitted", "a"),
        *(event("job.submitted", f"kid-{n}", {"parent": "a"}) for n in range(20)),
    )
    with server.client() as client:
        answer = story(client, job="a", limit=2)
    assert len(answer["entities"]) == 5
    assert answer["truncated"]


REFUSED = [
    ("", 422, "invalid", "job"),
    ("?job=top&stream=alert/x", 422, "invalid", "job"),
    ("?stream=alrt/x", 422, "invalid", "stream"),
    ("?stream=alert", 422, "invalid", "stream"),
    ("?jobs=top", 422, "invalid", "jobs"),
    ("?job=top&limit=0", 422, "invalid", "limit"),
    ("?job=nobody", 404, "not_found", None),
    ("?stream=alert/nobody", 404, "not_found", None),
    ("?correlation=nobody", 404, "not_found", None),
    ("?job=top&as_of=1", 404, "not_found", None),
    ("?job=top&as_of=9999", 409, "beyond_head", None),
    ("?job=top&cursor=x", 422, "invalid_cursor", None),
]


@pytest.mark.parametrize(("query", "status", "code", "parameter"), REFUSED)
def test_what_has_no_story_is_refused(
    told: httpx.Client, query: str, status: int, code: str, parameter: str | None
) -> None:
    """With one clear error that names the parameter."""
    response = told.get(f"/api/timeline{query}")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    if parameter is not None:
        assert [fault["parameter"] for fault in problem["errors"]] == [parameter]


def test_a_cursor_of_another_story_is_refused(told: httpx.Client) -> None:
    """It names the entities of its own."""
    cursor = told.get("/api/timeline?job=top&limit=1").json()["next"]
    answer = told.get("/api/timeline", params={"job": "grand", "cursor": cursor})
    assert answer.json()["code"] == "invalid_cursor"
