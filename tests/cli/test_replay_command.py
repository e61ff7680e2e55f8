"""``chronicled replay`` and ``--as-of``: going back, by a daemon and beside it."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import chronicled, document, event, lines, start
from daemon_process import DaemonProcess
from waiting import wait_until

COUNT = 30


@pytest.fixture
def told(daemon: DaemonProcess) -> DaemonProcess:
    """Return a daemon that knows some jobs, each of two events."""
    story = [
        each
        for number in range(COUNT // 2)
        for each in (
            event(2 * number + 1, subject=f"job-{number}"),
            event(2 * number + 2, type="job.started", subject=f"job-{number}", data={}),
        )
    ]
    chronicled("append", "--data", daemon.data, text=lines(*story))
    with daemon.client() as client:
        assert client.get("/api/jobs", params={"wait_for": COUNT}).status_code == 200
    return daemon


def jobs_in(path: Path) -> list[tuple[str, str]]:
    """Return the jobs of a views file with their states, as any program may read them."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT id, status FROM jobs ORDER BY job").fetchall()


def jobs_at(position: int) -> list[tuple[str, str]]:
    """Return the jobs as they are after so many events of the story."""
    started = [(f"job-{number}", "running") for number in range(position // 2)]
    return started + [(f"job-{position // 2}", "submitted")] * (position % 2)


def test_a_moment_is_built_into_a_file(told: DaemonProcess, tmp_path: Path) -> None:
    """Beside a daemon or without one, forwards or backwards, the file holds just that moment."""
    target = tmp_path / "new" / "then.db"
    for position in (7, 20, 20, 3):
        found = document("replay", "--until", position, "--into", target, "--data", told.data)
        assert (found["position"], found["file"]) == (position, str(target))
        assert jobs_in(target) == jobs_at(position)
    assert target.stat().st_mode & 0o777 == 0o600
    told.stop()
    said = chronicled("replay", "--until", "-0s", "--into", target, "--data", told.data)
    assert f"Position {COUNT}: " in said.stdout
    assert "replay: 30 of 30" in said.stderr
    assert jobs_in(target) == jobs_at(COUNT)
    assert [each.name for each in target.parent.iterdir()] == ["then.db"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--until", "31", "--into", "x.db"], 1, "beyond the head of the log, 30"),
        (["--until", "2199-01-01", "--into", "x.db"], 1, "lies in the future"),
        (["--until", "2026-02-04T06:00:00", "--into", "x.db"], 2, "says no offset"),
        (["--until", "7"], 2, "say where to"),
        (["--into", "x.db"], 2, "say which moment"),
        (["--until", "7", "--serve", "--listen", "here"], 2, "must be HOST:PORT"),
        (["--until", "7", "--into", "DATA/views.db"], 1, "belongs to a daemon"),
        (["--until", "7", "--into", "DATA/chronicled.lock"], 1, "is not a replay"),
    ],
)
def test_what_cannot_be_replayed_is_one_clear_error(
    told: DaemonProcess, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    """Nothing is written, and nothing that was there is touched."""
    before = {path.name for path in told.data.iterdir()}
    given = [each.replace("DATA", str(told.data)) for each in arguments]
    failed = chronicled(
        "replay", *given, "--data", told.data, code=code, cwd=tmp_path, COLUMNS="300"
    )
    assert says in failed.stderr
    assert not (tmp_path / "x.db").exists()
    assert {path.name for path in told.data.iterdir()} == before
    with told.client() as client:
        assert client.get("/api/jobs/job-1").status_code == 200


def test_a_file_is_written_by_one_replay_at_a_time(told: DaemonProcess, tmp_path: Path) -> None:
    """While one command serves a file, another is refused; a lock that was left is none."""
    target = tmp_path / "then.db"
    arguments = ("--into", target, "--data", told.data)
    with serving("--until", "7", *arguments):
        refused = chronicled("replay", "--until", "9", *arguments, code=1)
        assert "another replay writes" in refused.stderr
        assert jobs_in(target) == jobs_at(7)
    (tmp_path / "then.db.lock").touch()
    chronicled("replay", "--until", "9", *arguments)
    assert [each.name for each in tmp_path.glob("then*")] == ["then.db"]
    assert jobs_in(target) == jobs_at(9)


def test_the_daemons_files_are_not_written_by_other_names(
    told: DaemonProcess, tmp_path: Path
) -> None:
    """A link to the live views, soft or hard, is refused like the file itself."""
    soft, hard = tmp_path / "soft.db", tmp_path / "hard.db"
    soft.symlink_to(told.data / "views.db")
    hard.hardlink_to(told.data / "views.db")
    for link in (soft, hard):
        refused = chronicled(
            "replay", "--until", COUNT, "--into", link, "--data", told.data, code=1
        )
        assert "belongs to a daemon" in refused.stderr
    assert soft.is_symlink()


def test_a_replay_that_failed_before_is_begun_again(told: DaemonProcess, tmp_path: Path) -> None:
    """What a failed one left is not gone on with; an earlier whole file stays meanwhile."""
    target, part = tmp_path / "then.db", tmp_path / "then.db.part"
    arguments = ("--into", target, "--data", told.data)
    chronicled("replay", "--until", "7", *arguments)
    part.write_bytes(target.read_bytes())
    with closing(sqlite3.connect(part)) as db, db:
        db.execute("UPDATE projections SET error = 'spoilt', failed_position = 7")
        db.execute("DELETE FROM jobs")
    chronicled("replay", "--until", "9", *arguments)
    assert jobs_in(target) == jobs_at(9)
    assert not part.exists()


def test_lists_are_asked_as_of(told: DaemonProcess) -> None:
    """--as-of is on every list and on the summary, by the daemon and on files at rest."""
    answers = []
    for at_rest in (False, True):
        if at_rest:
            told.stop()
        jobs = document("jobs", "list", "--as-of", "7", "--data", told.data)
        assert jobs["as_of"] == 7
        found = [(item["id"], item["status"]) for item in reversed(jobs["items"])]
        assert found == jobs_at(7)
        total = document("summary", "--as-of", "7", "--data", told.data)["jobs"]["total"]
        files = document("files", "list", "--as-of", "7", "--data", told.data)["items"]
        alerts = document("alerts", "list", "--as-of", "7", "--data", told.data)["items"]
        assert (total, files, alerts) == (4, [], [])
        answers.append(jobs)
    assert answers[0] == answers[1]


@contextmanager
def serving(*arguments: str | Path) -> Iterator[httpx.Client]:
    """Serve a moment, and lend a client of it; it ends well when it is told to."""
    process = start("replay", "--serve", "--listen", "127.0.0.1:0", *arguments)
    try:
        said: list[str] = []

        def ready() -> bool:
            said.append(process.stderr.readline())
            return "Read-only at" in said[-1]

        wait_until(ready, "it serves")
        url = re.search(r"http://[\d.:]+\d", said[-1])
        assert url is not None, said
        with httpx.Client(base_url=url[0], trust_env=False) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest
    finally:
        process.kill()
        process.communicate()


def test_a_moment_is_served_read_only(told: DaemonProcess) -> None:
    """The whole interface answers as of the moment, says so, and takes nothing."""
    with serving("--until", "7", "--data", told.data) as client:
        ready = client.get("/readyz").json()
        assert (ready["status"], ready["readonly"]) == ("ready", True)
        assert ready["log"]["position"] == 7
        for path in ("/api/jobs", "/api/events", "/api/alerts", "/api/files", "/api/summary"):
            answer = client.get(path).json()
            assert (answer["as_of"], answer["readonly"]) == (7, True), path
        jobs = client.get("/api/jobs?sort=submitted").json()["items"]
        assert [(item["id"], item["status"]) for item in jobs] == jobs_at(7)
        assert len(client.get("/api/events").json()["items"]) == 7
        assert client.get("/api/events?order=desc&limit=1").json()["items"][0]["position"] == 7
        assert client.get("/api/jobs/job-5").status_code == 404
        earlier = client.get("/api/jobs?as_of=2&sort=submitted").json()
        assert [(item["id"], item["status"]) for item in earlier["items"]] == jobs_at(2)
        assert client.get("/api/jobs?as_of=8").json()["code"] == "beyond_head"
        assert client.get("/api/jobs?wait_for=8").json()["code"] == "beyond_head"
        assert "chronicled_log_position 7.0" in client.get("/metrics").text
        for path in ("/api/events", "/api/operations", "/api/alerts/x/resolve"):
            refused = client.post(path, json={"kind": "verify"})
            assert (refused.status_code, refused.json()["code"]) == (403, "read_only"), path
        shown = document("jobs", "list", "--url", str(client.base_url))
        assert shown["as_of"] == 7
    # The daemon itself went on as it was.
    chronicled("append", "--data", told.data, text=lines(event(99)))


def test_a_live_daemon_says_nothing_of_read_only(told: DaemonProcess) -> None:
    """Only readiness says that it is not."""
    with told.client() as client:
        assert client.get("/readyz").json()["readonly"] is False
        answer: dict[str, Any] = client.get("/api/jobs").json()
        assert "readonly" not in answer
