"""A real daemon with policies: from the configuration to the tombstone, by the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess
from waiting import wait_until

CONFIG = """
[retention]
preset = "flowlord"
apply = false

[[retention.policies]]
name = "tests"
category = "job"
kind = "test"
age = "ended"
purge_after = "1d"
"""
OLD = "2020-01-01T00:00:00Z"


def job(id_: str, kind: str, type_: str = "job.succeeded") -> list[dict[str, Any]]:
    """Return the events of a job of long ago."""
    base = {"specversion": "1.0", "source": "/test", "subject": id_, "time": OLD}
    return [
        {**base, "id": f"{id_}-1", "type": "job.submitted",
         "data": {"kind": kind, "params": {"token": f"payload-of-{id_}"}}},
        {**base, "id": f"{id_}-2", "type": type_, "data": {}},
    ]  # fmt: skip


def command(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command against a daemon."""
    line = [sys.executable, "-c", "from daemon.cli.main import run; run()", *words]
    socket = ["--socket", str(daemon.socket_path)]
    return subprocess.run([*line, *socket], capture_output=True, text=True, check=False)


def at_rest(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the directory of a daemon that does not run."""
    line = [sys.executable, "-c", "from daemon.cli.main import run; run()", *words]
    where = ["--data", str(daemon.data)]
    return subprocess.run([*line, *where], capture_output=True, text=True, check=True)


def pinned(daemon: DaemonProcess, id_: str) -> bool:
    """Return whether the views show a job as pinned."""
    with daemon.client() as client:
        return bool(client.get(f"/api/jobs/{id_}").json()["pinned"])


@pytest.fixture
def started(daemons: Callable[..., DaemonProcess], tmp_path: Path) -> Callable[[], DaemonProcess]:
    """Return what starts a daemon with policies."""
    (tmp_path / "chronicled.toml").write_text(CONFIG)
    arguments = ("--config", str(tmp_path / "chronicled.toml"))
    return lambda: daemons(arguments=arguments).start().wait_caught_up()


def test_what_is_planned_is_applied_once_confirmed(started: Callable[[], DaemonProcess]) -> None:
    """The plan is shown, `--yes` is needed, pinned jobs stay, and a second run finds nothing."""
    daemon = started()
    with daemon.client() as client:
        for id_, kind in (("t1", "test"), ("t2", "test"), ("w1", "work")):
            answer = client.post("/api/events", json=job(id_, kind))
        assert client.get("/api/jobs", params={"wait_for": answer.json()["as_of"]}).is_success
    assert command(daemon, "jobs", "pin", "t2", "--reason", "an audit").returncode == 0
    assert command(daemon, "jobs", "pin", "nobody").returncode == 1
    wait_until(lambda: pinned(daemon, "t2"), "the views know of the pin")
    shown = json.loads(command(daemon, "retention", "plan", "--json").stdout)
    assert {item["id"]: item["rule"] for item in shown["items"]} == {
        "t1": "tests",
        "w1": "flowlord.job.succeeded",
    }
    refused = command(daemon, "retention", "apply")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    done = command(daemon, "retention", "apply", "--yes", "--by", "ana", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["plan"], result["totals"]) == (shown["plan"], shown["totals"])
    with daemon.client() as client:
        purged = client.get("/api/events", params={"type": "job.purged"}).json()["items"]
    assert {each["subject"]: each["actor"] for each in purged} == {"t1": "ana", "w1": "ana"}
    again = json.loads(command(daemon, "retention", "apply", "--json").stdout)
    assert again.keys() == result.keys()
    assert (again["planned"], again["entities"], again["totals"]) == (0, 0, [])
    daemon.stop()


def test_policies_are_recorded_at_each_change(
    started: Callable[[], DaemonProcess], tmp_path: Path
) -> None:
    """A start records what is new; the next one, after a kill, only what has changed."""
    daemon = started()

    def changes() -> list[dict[str, Any]]:
        with daemon.client() as client:
            found: list[dict[str, Any]] = client.get(
                "/api/events", params={"type": "policy.changed"}
            ).json()["items"]
            return found

    wait_until(lambda: any(each["subject"] == "tests" for each in changes()), "it is recorded")
    count = len(changes())
    daemon.kill()
    path = tmp_path / "chronicled.toml"
    path.write_text(path.read_text().replace("1d", "2d"))
    daemon = started()
    wait_until(lambda: len(changes()) > count, "the change is recorded")
    assert len(changes()) == count + 1
    listed = json.loads(command(daemon, "retention", "policies", "--json").stdout)
    (policy,) = [each for each in listed["items"] if each["name"] == "tests"]
    assert policy["purge_after"] == "2d"
    assert policy["by"]
    assert str(path) in policy["reason"]
    told = command(daemon, "retention", "policies", "--history", "--limit", "1")
    assert "purge 1d" in told.stdout
    assert "purge 2d" in told.stdout
    daemon.stop()


def test_another_configuration_is_tried_without_effect(
    started: Callable[[], DaemonProcess], tmp_path: Path
) -> None:
    """`plan --config` and `--preset` say what would be due by other policies."""
    daemon = started()
    with daemon.client() as client:
        answer = client.post("/api/events", json=job("w1", "work"))
        assert client.get("/api/jobs", params={"wait_for": answer.json()["as_of"]}).is_success
    other = tmp_path / "other.toml"
    other.write_text(
        '[[retention.policies]]\ncategory = "job"\nage = "ended"\npurge_after = "forever"\n'
    )
    tried = command(daemon, "retention", "plan", "--config", str(other), "--json")
    assert json.loads(tried.stdout)["entities"] == 0
    other.write_text(
        '[[retention.policies]]\ncategory = "job"\nage = "ended"\narchive_after = "1d"\n'
        f'[retention]\narchive = "file://{tmp_path}/other-archive"\n'
    )
    tried = command(daemon, "retention", "plan", "--config", str(other), "--json")
    assert [item["action"] for item in json.loads(tried.stdout)["items"]] == ["archive"]
    paged = command(daemon, "retention", "plan", "--preset", "amr", "--cursor", "x")
    assert (paged.returncode, "no pages" in paged.stderr) == (2, True)
    tried = command(daemon, "retention", "plan", "--preset", "amr")
    assert "amr.job.succeeded" in tried.stdout
    wrong = command(daemon, "retention", "plan", "--preset", "arm")
    assert wrong.returncode == 1
    assert "did you mean 'amr'" in wrong.stderr
    daemon.stop()
    found = at_rest(daemon, "retention", "plan", "--json").stdout
    assert [item["id"] for item in json.loads(found)["items"]] == ["w1"]


def test_a_job_is_archived_by_the_daemon(
    daemons: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """With an archive in the configuration the plan archives, and the job is shown as before."""
    settings = {
        "CHRONICLED_RETENTION__PRESET": "amr",
        "CHRONICLED_RETENTION__APPLY": "false",
        "CHRONICLED_RETENTION__ARCHIVE": f"file://{tmp_path}/archive",
    }
    daemon = daemons(environment=settings).start()
    then = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    events = [{**event, "time": then} for event in job("a1", "test")]
    with daemon.client() as client:
        answer = client.post("/api/events", json=events)
        assert client.get("/api/jobs", params={"wait_for": answer.json()["as_of"]}).is_success
    shown = json.loads(command(daemon, "retention", "plan", "--json").stdout)
    assert [(item["action"], item["id"]) for item in shown["items"]] == [("archive", "a1")]
    done = command(daemon, "retention", "apply", "--yes", "--plan", shown["plan"], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totals"] == shown["totals"]
    with daemon.client() as client:
        wait_until(lambda: client.get("/api/jobs/a1").json()["archived"], "it is archived")
        assert client.get("/api/jobs/a1").json()["params"] == {"token": "payload-of-a1"}
        other = client.post(
            "/api/events", json=[{**one, "time": then} for one in job("a2", "test")]
        )
        seen = {"wait_for": other.json()["as_of"]}
        assert client.get("/api/jobs", params=seen).is_success
    assert any((tmp_path / "archive").rglob("*"))
    daemon.stop()
    told = at_rest(daemon, "retention", "plan").stderr
    assert "1 job that would be archived; whether there is an archive is known to" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[retntion]\npreset = "amr"', "did you mean 'retention'"),
        ('[retention]\npreset = "arm"', "did you mean 'amr'"),
        ('[retention]\nretention = "90d"', "unknown key retention.retention"),
        ('[[retention.policies]]\ncategory = "job"\nage = "ended"', "neither archive_after nor"),
        (
            '[[retention.policies]]\ncategory = "job"\nage = "ended"\npurge_after = "0d"',
            "would be at once",
        ),
        ("[[retention]]", "must be a table"),
    ],
)
def test_a_wrong_configuration_does_not_start(
    daemons: Callable[..., DaemonProcess], tmp_path: Path, text: str, said: str
) -> None:
    """A typo never means: delete everything. The daemon says what is meant, and ends with 2."""
    (tmp_path / "chronicled.toml").write_text(text)
    daemon = daemons(arguments=("--config", str(tmp_path / "chronicled.toml"))).launch()
    assert daemon.wait() == 2
    assert said in daemon.stderr()
