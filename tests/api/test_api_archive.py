"""The archive over HTTP: archived jobs are read as if they were in the log, and brought back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event
from waiting import wait_until

from daemon.archive.opening import make_archive
from daemon.backup.directory_store import DirectoryStore
from daemon.eventlog.truncation import Bound, Truncation


class Archiving:
    """A running server with an archive, and a job with a result in it."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        """Give the server an archive in a directory."""
        self.server = server
        self.root, self.kept = folder / "root", folder / "kept"
        self.root.mkdir()
        (folder / "data").mkdir()
        # The log goes on to begin with an event that stays.
        server.post(event("queue.paused", "q"))
        self.archive = make_archive(
            DirectoryStore(self.kept),
            folder / "data",
            self.root,
            server.log,
            server.views,
            lambda position: server.runner.wait_for(position, 20),
        )
        server.context.archive = self.archive

    def job(self, job: str = "j1", **more: Any) -> None:
        """Record a job with a result."""
        (self.root / f"{job}.gff3").write_bytes(b"GFF")
        said = {"job": job, "path": f"{job}.gff3", "sha256": sha256(b"GFF").hexdigest()}
        run = {"correlationid": "run-1", **more}
        self.server.post(
            event("job.submitted", job, {"kind": "k", "name": "n", "params": {"a": 1}}, **run),
            event("job.started", job, {"worker": "w1"}),
            event("job.progressed", job, {"fraction": 0.5}),
            event("result.recorded", f"{job}-r", said),
            event("job.failed", job, {"error": {"class": "E", "message": "m", "log": "a log"}}),
        )

    def store(self, job: str = "j1", *, truncating: bool = True) -> None:
        """Archive a job; its rows go."""
        self.archive.archiver.archive(job, "ended", "a test", 0)
        head = self.server.log.head()
        assert self.server.runner.wait_for(head, 20)
        if truncating:
            Truncation(self.server.log, lambda: Bound(head + 1)).run_dry()
        assert self.server.runner.wait_for(self.server.log.head(), 20)

    def get(self, path: str, **params: Any) -> Any:
        """Return the answer to a question."""
        with self.server.client() as client:
            response = client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def restore(self, job: str = "j1", **asked: Any) -> dict[str, Any]:
        """Bring a job back, and return the operation in its end."""
        with self.server.client(unix=True) as client:
            response = client.post(f"/api/archive/{job}/restore", json=asked)
            assert response.status_code == 202, response.text
            path = response.headers["location"]

            def ended() -> Any:
                found = client.get(path).json()
                return None if found["state"] == "running" else found

            return wait_until(ended, "the end of the operation")


@pytest.fixture
def archiving(server: ApiServer, tmp_path: Path) -> Iterator[Archiving]:
    """Return a running server with an archive."""
    folder = tmp_path / "archiving"
    folder.mkdir()
    return Archiving(server, folder)


LEFT_OUT = ("as_of", "archive", "archived", "archived_time", "updated", "last_position", "events")


@pytest.mark.parametrize("truncating", [True, False])
def test_a_job_is_shown_as_it_was(archiving: Archiving, truncating: bool) -> None:
    """Its documents come out of the archive, before and after its rows are removed."""
    archiving.job()
    before = archiving.get("/api/jobs/j1")
    assert "archive" not in before
    archiving.store(truncating=truncating)
    shown = archiving.get("/api/jobs/j1")
    assert shown["archived"]
    assert (shown["params"], shown["error"]["log"]) == ({"a": 1}, "a log")
    assert {k: v for k, v in shown.items() if k not in LEFT_OUT} == {
        k: v for k, v in before.items() if k not in LEFT_OUT
    }
    place = shown["archive"]
    assert (place["events"], place["files"], place["note"]) == (5, 1, None)
    assert [each["id"] for each in archiving.get("/api/jobs")["items"]] == ["j1"]


def test_a_job_as_of_any_position(archiving: Archiving) -> None:
    """As of each position, before and after, a job is what it was then."""
    archiving.job()
    head = archiving.server.log.head()
    before = {at: archiving.get("/api/jobs/j1", as_of=at) for at in range(2, head + 1)}
    archiving.store()
    for at, known in before.items():
        assert archiving.get("/api/jobs/j1", as_of=at) == known
    after = archiving.get("/api/jobs/j1", as_of=archiving.server.log.head())
    assert after["params"] == {"a": 1}
    assert after["archive"]["events"] == 5


@pytest.mark.parametrize("truncating", [True, False])
@pytest.mark.parametrize("attempts", ["one", "all"])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_history_goes_on(archiving: Archiving, attempts: str, limit: int, truncating: bool) -> None:
    """The history is the archived entries, then those of the log, in pages of any size."""
    archiving.job()
    path = "/api/jobs/j1/history"
    before = archiving.get(path, attempts=attempts)["items"]
    archiving.store(truncating=truncating)
    archiving.server.post(event("job.retried", "j1", {"next": "j2"}))
    items, cursor = [], None
    while cursor is not None or not items:
        more = {"cursor": cursor} if cursor else {}
        page = archiving.get(path, attempts=attempts, limit=limit, **more)
        assert len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next"]
    assert items[: len(before)] == before
    assert [item["type"] for item in items[len(before) :]] == ["job.archived", "job.retried"]


def test_the_history_of_a_chain(archiving: Archiving) -> None:
    """Of a chain each attempt has its own archived entries."""
    archiving.job("j1")
    archiving.job("j2")
    before = archiving.get("/api/jobs/j2/history", attempts="all")["items"]
    archiving.store("j1")
    after = archiving.get("/api/jobs/j2/history", attempts="all")["items"]
    assert [item for item in after if item["type"] != "job.archived"] == before


def test_history_as_of_before(archiving: Archiving) -> None:
    """As of a position before it was archived, the history is as it was."""
    archiving.job()
    before = archiving.get("/api/jobs/j1/history", as_of=4)["items"]
    assert len(before) == 3
    archiving.store()
    assert archiving.get("/api/jobs/j1/history", as_of=4)["items"] == before


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("truncating", [True, False])
def test_events_of_its_stream(
    archiving: Archiving, order: str, limit: int, truncating: bool
) -> None:
    """Who lists the events of its stream gets them all, in order and once."""
    archiving.job()
    asked = {"stream": "job/j1", "order": order}
    before = archiving.get("/api/events", **asked)["items"]
    archiving.store(truncating=truncating)
    items, cursor = [], None
    while cursor is not None or not items:
        more = {"cursor": cursor} if cursor else {}
        page = archiving.get("/api/events", limit=limit, **asked, **more)
        items += page["items"]
        cursor = page["next"]
    [marker] = [item for item in items if item["type"] == "job.archived"]
    items.remove(marker)
    assert items == before
    assert archiving.get("/api/events", stream="job/j1", type="job.started")["items"][0] in before
    assert archiving.get("/api/events", stream="job/j1", after=3, before=5)["items"] == [
        item for item in before if item["position"] == 4
    ]


def test_diff_and_steps(archiving: Archiving) -> None:
    """What each event changed is told out of the archive too."""
    archiving.job()
    steps = archiving.get("/api/steps", stream="job/j1")["items"]
    diff = archiving.get("/api/diff", stream="job/j1", **{"from": 2, "to": 6})
    archiving.store()
    assert archiving.get("/api/steps", stream="job/j1")["items"][: len(steps)] == steps
    assert archiving.get("/api/diff", stream="job/j1", **{"from": 2, "to": 6}) == diff
    assert archiving.get("/api/timeline", job="j1")["items"]


def test_a_store_that_is_away(archiving: Archiving) -> None:
    """The job is shown all the same, with a note; its history says what is the matter."""
    archiving.job()
    archiving.store()
    archiving.kept.rename(archiving.kept.with_name("away"))
    archiving.archive.reader._cache.clear()
    shown = archiving.get("/api/jobs/j1")
    assert shown["status"] == "failed"
    assert shown["params"] is None
    assert "is missing" in shown["archive"]["note"]
    assert "is missing" in archiving.get("/api/archive/j1")["note"]
    with archiving.server.client() as client:
        response = client.get("/api/jobs/j1/history")
    assert (response.status_code, response.json()["code"]) == (500, "archive_damaged")


def test_a_daemon_without_an_archive(archiving: Archiving) -> None:
    """Where the setting is gone, the answer says so."""
    archiving.job()
    archiving.store()
    archiving.server.context.archive = archiving.server.context.archived = None
    assert "no archive is configured" in archiving.get("/api/jobs/j1")["archive"]["note"]
    with archiving.server.client() as client:
        response = client.get("/api/jobs/j1/history")
        assert (response.status_code, response.json()["code"]) == (409, "no_archive")
    with archiving.server.client(unix=True) as client:
        response = client.post("/api/archive/j1/restore")
        assert (response.status_code, response.json()["code"]) == (409, "no_archive")


def test_the_list_and_one(archiving: Archiving) -> None:
    """The archive lists its jobs, the newest first, and shows the objects of one."""
    for job in ("j1", "j2", "j3"):
        archiving.job(job)
        archiving.store(job)
    first = archiving.get("/api/archive", limit=2)
    assert [item["job"] for item in first["items"]] == ["j3", "j2"]
    second = archiving.get("/api/archive", limit=2, cursor=first["next"])
    assert [item["job"] for item in second["items"]] == ["j1"]
    found = archiving.get("/api/archive/j1")
    assert found["note"] is None
    assert [file["path"] for file in found["files"]] == ["j1.gff3"]
    assert (archiving.kept / found["object"]).exists()
    with archiving.server.client() as client:
        response = client.get("/api/archive/j9")
    assert (response.status_code, response.json()["code"]) == (404, "not_archived")


def test_bringing_a_job_back(archiving: Archiving) -> None:
    """Its files are in their places again, and the log says who wanted that."""
    archiving.job()
    archiving.store()
    assert not (archiving.root / "j1.gff3").exists()
    operation = archiving.restore(by="mara", reason="a question")
    assert operation["state"] == "succeeded", operation
    assert (operation["result"]["files"], operation["result"]["bytes"]) == (1, 3)
    assert (archiving.root / "j1.gff3").read_bytes() == b"GFF"
    [restored] = archiving.get("/api/events", stream="job/j1", type="job.restored")["items"]
    assert (restored["actor"], restored["data"]["reason"]) == ("mara", "a question")
    assert archiving.get("/api/events", stream="result/j1-r", type="result.verified")["items"]
    archiving.server.runner.wait_for(archiving.server.log.head(), 20)
    assert archiving.get("/api/jobs/j1")["params"] == {"a": 1}
    assert archiving.get("/api/archive/j1")["job"] == "j1"


def test_never_over_another_file(archiving: Archiving) -> None:
    """A file that is there, and is another one, ends it before anything is changed."""
    archiving.job()
    archiving.store()
    (archiving.root / "j1.gff3").write_bytes(b"mine")
    operation = archiving.restore()
    assert operation["error"]["code"] == "file_in_the_way"
    assert (archiving.root / "j1.gff3").read_bytes() == b"mine"
    assert archiving.get("/api/events", type="job.restored")["items"] == []


def test_who_may_bring_back(archiving: Archiving) -> None:
    """Only who comes over the Unix socket, and only what is in the archive."""
    archiving.job()
    archiving.store()
    with archiving.server.client() as client:
        assert client.post("/api/archive/j1/restore").status_code == httpx.codes.FORBIDDEN
    with archiving.server.client(unix=True) as client:
        assert client.post("/api/archive/j9/restore").json()["code"] == "not_archived"
        response = client.post("/api/archive/j1/restore", json={"bye": "mara"})
        assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        response = client.post("/api/operations", json={"kind": "restore"})
        assert "POST /api/archive" in response.json()["detail"]


def test_verifying(archiving: Archiving, servers: Callable[..., ApiServer]) -> None:
    """Every object is read; one that is damaged or missing is named."""
    for job in ("j1", "j2"):
        archiving.job(job)
        archiving.store(job)
    assert _verify(archiving)["result"] | {"bytes": 0} == {
        "ok": True, "jobs": 2, "objects": 4, "bytes": 0, "damaged": 0, "findings": [],
    }  # fmt: skip
    objects = sorted(archiving.kept.glob("jobs/**/*.zst"))
    objects[0].unlink()
    objects[3].write_bytes(objects[3].read_bytes() + b"x")
    result = _verify(archiving)["result"]
    assert (result["ok"], result["damaged"]) == (False, 2)
    assert {found["object"] for found in result["findings"]} == {
        str(path.relative_to(archiving.kept)) for path in (objects[0], objects[3])
    }
    other = servers()
    with other.client(unix=True) as client:
        response = client.post("/api/operations", json={"kind": "archive-verify"})
    assert response.json()["code"] == "no_archive"


def _verify(archiving: Archiving) -> Any:
    with archiving.server.client(unix=True) as client:
        path = client.post("/api/operations", json={"kind": "archive-verify"}).headers["location"]

        def ended() -> Any:
            found = client.get(path).json()
            return None if found["state"] == "running" else found

        return wait_until(ended, "the end of the operation")
