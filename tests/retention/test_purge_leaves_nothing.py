"""What a purge leaves: tombstones and counts, views as a replay makes them, and no byte more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess
from keeping import Kept
from waiting import wait_until

import daemon.replay.forgetting
from daemon.replay.forgetting import LOOK_SECONDS, RETRY_SECONDS, Forgetting
from daemon.replay.verify import verify

ENDED = {"category": "job", "age": "ended", "purge_after": "30d"}
ALERTS = {"category": "alert", "age": "last_event", "purge_after": "30d"}
FILES = {"category": "file", "age": "last_event", "purge_after": "30d"}


def work(kept: Kept, prefix: str) -> None:
    """Append jobs with results, an alert about one, and messages about a file."""
    for number in range(5):
        id_ = f"{prefix}-{number}"
        kept.job(id_, "started", "succeeded" if number % 2 else "failed")
        kept.say("result.recorded", f"{id_}/gff3", job=id_, path=f"{id_}.gff3")
        kept.say("alert.raised", f"about-{id_}", severity="error", job=id_)
        kept.say("file.observed", f"in/{id_}.csv", path=f"in/{id_}.csv")
        kept.say("file.matched", f"in/{id_}.csv", workflow="w", jobs=[id_])


def test_the_views_are_those_of_a_replay(kept: Kept) -> None:
    """Live, through a purge and a second life, the rows are those of the log that is left."""
    kept.by(ENDED, ALERTS, FILES)
    work(kept, "old")
    kept.after(20)
    work(kept, "young")
    kept.after(10)
    kept.project()
    before = kept.views.summary()
    assert len(kept.apply().done.by_rule) == 3
    after = kept.views.summary()
    assert {**before, "as_of": 0} == {**after, "as_of": 0}
    kept.job("old-1", "started")
    kept.project()
    kept.log.close()
    report = verify(kept.directory / "log.db", kept.directory / "views.db")
    assert report.findings == []


def find(directory: Path, text: str) -> list[str]:
    """Return the files below a directory that hold a text."""
    found = []
    for path in directory.rglob("*"):
        try:
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:
            continue
    return found


def job(id_: str, **more: str) -> list[dict[str, Any]]:
    """Return the events of a job whose payload can be searched for."""
    base = {"specversion": "1.0", "source": "/test", "subject": id_, **more}
    said = {"kind": "test", "name": f"nameof{id_}", "params": {"token": f"payloadof{id_}"}}
    failed = {"error": {"class": "E", "message": f"messageof{id_} wordof{id_}"}}
    return [
        {**base, "id": f"{id_}-1", "type": "job.submitted", "data": said},
        {**base, "id": f"{id_}-2", "type": "job.failed", "data": failed},
    ]


def test_no_byte_of_a_purged_payload_is_left(daemons: Callable[..., DaemonProcess]) -> None:
    """Not in the log, the views, their write-ahead logs, or what is kept of the past."""
    settings = {
        "CHRONICLED_RETENTION__PRESET": "flowlord",
        "CHRONICLED_RETENTION__APPLY": "false",
        "CHRONICLED_REPLAY__CHECKPOINT_EVENTS": "1000",
    }
    daemon = daemons(environment=settings).start()
    with daemon.client() as client:
        client.post("/api/events", json=job("old", time="2020-01-01T00:00:00Z"))
        young = [event for number in range(700) for event in job(f"young{number}")]
        head = client.post("/api/events", json=young).json()["as_of"]
        assert client.get("/api/jobs", params={"wait_for": head}).is_success
    checkpoints = daemon.data / "replay"
    wait_until(lambda: list(checkpoints.rglob("*.db.zst")), "there is a checkpoint")
    texts = [f"{what}ofold" for what in ("payload", "name", "message", "word")]
    assert all(find(daemon.data, text) for text in texts)
    with daemon.client() as client:
        # A moment of the past is built, and kept.
        params = {"as_of": head - 1, "timeout": 30}
        assert client.get("/api/jobs/old", params=params).status_code == 200
    first = {path.name for path in checkpoints.rglob("*.db.zst")}
    with daemon.client(unix=True) as client:
        asked = {"kind": "retention-apply"}
        assert client.post("/api/operations", json=asked).status_code == 202
    wait_until(lambda: not any(find(daemon.data, text) for text in texts), "it is gone", seconds=60)
    wait_until(
        lambda: not first & {path.name for path in checkpoints.rglob("*.db.zst")},
        "what was kept of the past is gone",
    )
    with daemon.client() as client:
        assert client.get("/api/jobs/old").status_code == 404
        assert client.get("/api/jobs/young1").status_code == 200
    daemon.stop()
    assert not any(find(daemon.data, text) for text in texts)


def test_the_past_is_thrown_away_once_for_a_removal(kept: Kept) -> None:
    """When nothing waits to be removed any more; and after a restart only for a newer one."""
    kept.by(ENDED)
    forgotten: list[int] = []
    place = (kept.directory, kept.directory / "views.db", kept.log)
    forgetting = Forgetting(*place, lambda: forgotten.append(kept.now))
    forgetting.step(kept.now)
    assert forgotten == []
    kept.job("a", "succeeded")
    kept.after(30)
    kept.retention.apply(kept.plan(), kept.now)
    forgetting.step(kept.now)
    assert forgotten == []
    kept.truncation.run_dry()
    # Whoever copies the write-ahead log into its file may be in the way.
    while forgetting.step(kept.now) == RETRY_SECONDS:
        pass
    forgetting.step(kept.now)
    Forgetting(*place, lambda: forgotten.append(0)).step(kept.now)
    assert forgotten == [kept.now]


def test_a_file_that_was_cleared_is_not_read_again_for_the_other(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody read the views, all of the log was read each second."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.after(30)
    kept.retention.apply(kept.plan(), kept.now)
    kept.truncation.run_dry()
    answers = iter([True, False, True])
    asked: list[str] = []

    def clear(path: Path, _: Callable[[], bool]) -> bool:
        asked.append(path.name)
        return next(answers)

    monkeypatch.setattr(daemon.replay.forgetting, "clear_unallocated", clear)
    forgetting = Forgetting(kept.directory, kept.directory / "views.db", kept.log, lambda: None)
    assert forgetting.step(kept.now) == RETRY_SECONDS
    assert forgetting.step(kept.now) == LOOK_SECONDS
    assert asked == ["log.db", "views.db", "views.db"]
