"""The state file of a processing queue, by HTTP: what it becomes, and what a difference tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from api_server import ApiServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

START = 1_742_518_500.0
"""When the queue of a test began (seconds since 1970)."""


def task(path: str, status: str, created: float, **more: Any) -> dict[str, Any]:
    """Return a task as the producer writes it; times are seconds after the start."""
    times = {name: START + more.pop(name) for name in ("started", "completed") if name in more}
    return {
        "image_path": path,
        "status": status,
        "progress": more.get("progress", 0.0),
        "error": more.get("error"),
        "created_at": START + created,
        "started_at": times.get("started"),
        "completed_at": times.get("completed"),
    }


def state(saved: float, **more: Any) -> dict[str, Any]:
    """Return a state; ``saved`` is seconds after the start."""
    return {
        "is_processing": False,
        "should_stop": False,
        "queue": [],
        "current_task": None,
        "history": [],
        "saved_at": START + saved,
        **more,
    }


def read(client: httpx.Client, document: Any, source: str = "/queue/images") -> int:
    """Read a state file; return how many events that added."""
    response = client.post(
        "/api/intake/queue-state",
        content=json.dumps(document, indent=2),
        params={"source": source},
        headers={"content-type": "application/json"},
    )
    assert response.status_code in (200, 201), response.text
    return sum(not each["duplicate"] for each in response.json()["events"])


def shown(server: ApiServer, client: httpx.Client, name: str = "images") -> Any:
    """Return the queue as of the head of the log."""
    asked = {"wait_for": server.log.head(), "timeout": 20, "limit": 200}
    response = client.get(f"/api/queues/{name}", params=asked)
    assert response.status_code == 200, response.text
    return response.json()


def paths(jobs: list[dict[str, Any]]) -> list[str]:
    """Return the paths of jobs."""
    return [job["name"] for job in jobs]


def test_a_state_becomes_the_jobs_of_its_queue(server: ApiServer, client: httpx.Client) -> None:
    """Each list has its status; times are exact to the microsecond; again adds nothing."""
    document = state(
        50,
        queue=[task("c.png", "pending", 3), task("d.png", "pending", 4)],
        current_task=task("b.png", "processing", 2, started=40, progress=0.25),
        history=[task("a.png", "completed", 1.0077372, started=10, completed=20)],
    )
    assert read(client, document) == 8
    assert read(client, document) == 0
    found = shown(server, client)
    assert paths(found["waiting"]) == ["c.png", "d.png"]
    assert (paths(found["running"]), found["running"][0]["progress"]) == (["b.png"], 0.25)
    assert found["recent"][0]["submitted"] == "2025-03-21T00:55:01.007737Z"
    assert found["recent"][0]["run_seconds"] == 10


def test_failures_with_one_cause_are_one_alert(server: ApiServer, client: httpx.Client) -> None:
    """Paths and numbers tell no two errors apart; the count is how many tasks failed."""
    history = [
        task("a.png", "failed", 1, started=2, completed=3, progress=1.0, error="no file: a.png"),
        task("b.png", "failed", 4, started=5, completed=6, progress=1.0, error="no file: /x/b.png"),
        task("b.png", "failed", 7, started=8, completed=9, error="unexpected keyword 'cb'"),
    ]
    read(client, state(10, history=history))
    read(client, state(11, history=history))
    found = shown(server, client)
    assert found["counts"] == {"failed": 3}
    alerts = client.get("/api/alerts?kind=job_failed").json()["items"]
    assert {(each["fingerprint"], each["count"]) for each in alerts} == {
        ("no file: <path>", 2),
        ("unexpected keyword 'cb'", 1),
    }
    assert {each["extra"]["progress"] for each in _failures(client)} == {1.0, 0.0}


def _failures(client: httpx.Client) -> list[dict[str, Any]]:
    items = client.get("/api/events?type=job.failed").json()["items"]
    return [each["data"] for each in items]


def test_what_is_in_no_list_any_more_is_gone(server: ApiServer, client: httpx.Client) -> None:
    """Waiting tasks were cleared, a running one is lost; an ended one may be cut from history."""
    done = task("a.png", "completed", 1, started=2, completed=3)
    running = task("b.png", "processing", 2, started=4)
    waiting = [task("c.png", "pending", 3), task("d.png", "pending", 4)]
    read(client, state(5, history=[done], current_task=running, queue=waiting))
    assert read(client, state(9)) == 4
    assert read(client, state(9)) == 0
    assert read(client, state(10)) == 0
    found = shown(server, client)
    assert found["counts"] == {"succeeded": 1, "cancelled": 2, "lost": 1}
    assert (found["cleared_count"], found["cleared"]) == (2, "2025-03-21T00:55:09Z")


def test_a_task_that_ran_may_wait_again(server: ApiServer, client: httpx.Client) -> None:
    """A task that was put back is queued; taken up once more it runs."""
    read(client, state(5, current_task=task("a.png", "processing", 1, started=4)))
    again = state(8, queue=[task("a.png", "pending", 1)])
    assert (read(client, again), read(client, again)) == (1, 0)
    assert paths(shown(server, client)["waiting"]) == ["a.png"]
    read(client, state(9, current_task=task("a.png", "processing", 1, started=8.5)))
    assert paths(shown(server, client)["running"]) == ["a.png"]


def test_the_flags_count_where_they_changed(server: ApiServer, client: httpx.Client) -> None:
    """A queue that is to stop is paused; the same flag again is no event."""
    assert read(client, state(1, is_processing=True)) == 0
    assert read(client, state(2, should_stop=True)) == 1
    assert read(client, state(3, should_stop=True)) == 0
    assert shown(server, client)["paused"] is True
    assert read(client, state(4)) == 1
    assert read(client, state(3.5, should_stop=True)) == 0
    assert shown(server, client)["paused"] is False


def test_an_older_state_tells_only_what_ended(server: ApiServer, client: httpx.Client) -> None:
    """What waited then says nothing about now; an end is a fact whenever it is read."""
    ended = task("a.png", "failed", 1, started=2, completed=3, error="bad")
    read(client, state(9, queue=[task("z.png", "pending", 8)]))
    older = state(5, history=[ended], queue=[task("b.png", "pending", 4)])
    assert read(client, older) == 4
    assert read(client, older) == 0
    found = shown(server, client)
    assert (paths(found["waiting"]), paths(found["recent"])) == (["z.png"], ["a.png"])


def test_half_a_file_is_a_dead_letter(server: ApiServer, client: httpx.Client) -> None:
    """A writer that does not rename may be read in the middle; the next reading is whole."""
    text = json.dumps(state(5, queue=[task("a.png", "pending", 1)]), indent=2)
    for body, letters in ((text[: len(text) // 2], 1), (text, 0)):
        response = client.post(
            "/api/intake/queue-state?on_error=deadletter",
            content=body,
            headers={"content-type": "application/x-ndjson"},
        )
        assert response.json()["dead_letters"] == letters
    assert paths(shown(server, client)["waiting"]) == ["a.png"]


def test_what_is_wrong_with_a_state_has_its_place(client: httpx.Client) -> None:
    """Each fault is named by a pointer, and nothing of the state is taken."""
    bad = state(5, history=[task("", "failed", 1), 7], queue={}, current_task={"created_at": "x"})
    response = client.post("/api/intake/queue-state", json=bad)
    assert response.status_code == 422
    assert {each["pointer"] for each in response.json()["errors"]} == {
        "/history/0/image_path",
        "/history/1",
        "/queue",
        "/current_task/image_path",
        "/current_task/created_at",
    }


def test_a_queue_is_named_by_its_source(server: ApiServer, client: httpx.Client) -> None:
    """Two files with the same task are two queues with a job each."""
    document = state(5, queue=[task("a.png", "pending", 1)])
    read(client, document, "/queue/one")
    read(client, document, "/queue/two")
    for name in ("one", "two"):
        assert len(shown(server, client, name)["waiting"]) == 1


def test_real_files_are_read_whole(
    server: ApiServer, client: httpx.Client, real_data: Path
) -> None:
    """5 and 81 finished tasks, in either order, and three errors, paths left out."""
    names = ("queue_state_2025-03-21.json", "queue_state_2025-03-17.json")
    documents = [json.loads((real_data / "queue" / name).read_text()) for name in names]
    finished = []
    for document in documents:
        read(client, document)
        finished.append(shown(server, client)["recent_total"])
        assert read(client, document) == 0
    assert finished == [81, 86]
    assert shown(server, client)["counts"] == {"failed": 85, "succeeded": 1}
    alerts = client.get("/api/alerts?kind=job_failed").json()["items"]
    assert sorted(each["count"] for each in alerts) == [1, 6, 78]
    by_path = {name: _count(client, name) for name in ("test_image_1.png", "test_image_2.png")}
    assert by_path == {"test_image_1.png": 54, "test_image_2.png": 27}


def _count(client: httpx.Client, name: str) -> int:
    return len(client.get("/api/jobs", params={"name": name, "limit": 100}).json()["items"])


STEPS = st.lists(
    st.sampled_from(["add", "next", "progress", "done", "fail", "clear", "stop", "crash"]),
    max_size=25,
)


class QueueProgram:
    """A queue program as its state file shows it, one state a step; a second passes in each."""

    def __init__(self) -> None:
        self.queue: list[dict[str, Any]] = []
        self.current: dict[str, Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.cleared: list[str] = []
        self.stopped = False
        self.now = 0.0

    def step(self, verb: str) -> dict[str, Any]:
        """Do something, where it can be done, and return the state that is written then."""
        self.now += 1
        if verb == "add":
            self.queue.append(task(f"{self.now}.png", "pending", self.now - 0.5))
        elif verb == "next" and self.current is None and self.queue:
            started = {"status": "processing", "started_at": START + self.now}
            self.current = {**self.queue.pop(0), **started}
        elif verb == "progress" and self.current:
            self.current = {**self.current, "progress": min(self.now / 100, 1.0)}
        elif verb in ("done", "fail", "crash") and self.current:
            status = {"done": "completed", "fail": "failed", "crash": "interrupted"}[verb]
            ended = {"status": status, "completed_at": START + self.now}
            self.history.insert(0, {**self.current, **ended})
            self.current = None
        elif verb == "clear":
            self.cleared += [each["image_path"] for each in self.queue]
            self.queue = []
        elif verb == "stop":
            self.stopped = not self.stopped
        return json.loads(
            json.dumps(
                state(
                    self.now,
                    queue=self.queue,
                    current_task=self.current,
                    history=self.history,
                    should_stop=self.stopped,
                )
            )
        )


_numbers = iter(range(1_000_000))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS, st.data())
def test_the_answer_is_the_program_s_own_book(
    server: ApiServer, steps: list[str], data: st.DataObject
) -> None:
    """States read at any steps, several times, out of order: the last one read is what is shown."""
    program, name = QueueProgram(), f"q{next(_numbers)}"
    states = [program.step(verb) for verb in [*steps, "add"]]
    indexes = st.lists(st.integers(0, len(states) - 1), max_size=12)
    with server.client() as client:
        for index in [*data.draw(indexes), len(states) - 1]:
            read(client, states[index], f"/queue/{name}")
        before = server.log.head()
        for index in data.draw(indexes):
            assert read(client, states[index], f"/queue/{name}") == 0
        assert server.log.head() == before
        found = shown(server, client, name)
    assert paths(found["waiting"]) == [each["image_path"] for each in program.queue]
    running = [program.current["image_path"]] if program.current else []
    assert paths(found["running"]) == running
    assert found["paused"] is program.stopped
    ended = {job["name"]: job["native_status"] for job in found["recent"]}
    book = {each["image_path"]: each["status"] for each in program.history}
    assert {path: status for path, status in ended.items() if path not in program.cleared} == book
    assert set(ended) - set(book) <= set(program.cleared)
