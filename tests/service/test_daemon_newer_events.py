"""A real daemon whose log has events of a newer release: it starts, takes events, and says so."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append
from domain.events import NewEvent


def test_it_goes_on_beside_what_it_does_not_know(daemons, tmp_path: Path) -> None:
    """Degraded, with the event and the needed release; intake goes on, old state is answered."""
    data = tmp_path / "data"
    data.mkdir()
    log = EventLog.open(data / "log.db")
    events = [
        NewEvent("job.submitted", "a", "/t", "1", b'{"name":"n"}'),
        NewEvent("job.teleported", "a", "/t", "2", b"{}"),
    ]
    log.submit(Append(events), lambda _: None)
    log.writer.step(1_770_000_000_000_000)
    log.close()
    with closing(apsw.Connection(str(data / "log.db"))) as db:
        db.execute("UPDATE log_meta SET value = '12.4.0' WHERE key = 'release'")
    daemon: DaemonProcess = daemons(data).start().wait_caught_up()
    with daemon.client() as client:
        ready = wait_until(lambda: client.get("/readyz").json(), "an answer")
        assert ready["status"] == "degraded"
        assert "event 2 ('job.teleported'" in str(ready)
        assert "needs release 12.4.0" in str(ready)
        event = {"specversion": "1.0", "id": "3", "source": "/t", "type": "job.started"}
        assert client.post("/api/events", json=event | {"subject": "a"}).status_code == 201
        job = client.get("/api/jobs/a").json()
        assert (job["name"], job["as_of"]) == ("n", 1)
        refused = client.get("/api/jobs/a?as_of=3")
        assert (refused.status_code, refused.json()["code"]) == (501, "newer_event")
    assert daemon.stop() == 0
