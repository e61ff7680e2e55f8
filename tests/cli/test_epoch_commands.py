"""The commands over a log with two epochs, at rest and through a daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import chronicled, document
from daemon_process import DaemonProcess
from epoch_log import GAP, two_epochs


@pytest.fixture
def places(tmp_path: Path) -> list[int]:
    """Return the positions of the events of a log in the data directory of the test."""
    (tmp_path / "data").mkdir(mode=0o700)
    return two_epochs(tmp_path / "data" / "log.db")


@pytest.fixture
def data(tmp_path: Path, places: list[int]) -> Path:
    """Return the data directory; its log has events at these positions."""
    assert places
    return tmp_path / "data"


def test_a_log_with_epochs_is_read_and_moved_at_rest(
    data: Path, places: list[int], tmp_path: Path
) -> None:
    """Listing, replay, export and import: nothing is missing, and the copy is the same."""
    listed = document("events", "list", "--data", data, "--limit", "100")["items"]
    assert [each["position"] for each in listed] == places
    for place, events in ((9, 10), (10, 11), (51, 52)):
        into = tmp_path / f"{place}.db"
        arguments = ("replay", "--until", str(places[place]), "--into", into, "--data", data)
        assert document(*arguments)["events"] == events
    lost = str(places[9] + 1)
    told = chronicled("replay", "--until", lost, "--into", tmp_path / "x", "--data", data, code=1)
    assert f"complete up to {places[9]}" in told.stderr
    file, copy = tmp_path / "all.ndjson.zst", tmp_path / "copy"
    assert document("events", "export", file, "--data", data)["complete"] is True
    chronicled("events", "import", file, "--data", copy)
    again = tmp_path / "again.ndjson"
    chronicled("events", "export", again, "--data", copy)
    first = chronicled("events", "export", "-", "--data", data).stdout
    assert again.read_text() == first
    last = json.loads(first.splitlines()[-1])["data"]
    assert (last["to"], last["count"], last["epoch"]) == (places[-1], len(places), 3)


def test_a_daemon_goes_on_in_the_epoch(data: Path, places: list[int]) -> None:
    """It appends after the newest position, its views catch up over the gaps, and all verifies."""
    daemon = DaemonProcess(data).start()
    try:
        daemon.wait_caught_up()
        with daemon.client() as client:
            assert client.get("/readyz").json()["log"]["epoch"] == 3
            event = {
                "specversion": "1.0", "id": "new", "source": "/t", "type": "job.submitted",
                "subject": "new", "data": {},
            }  # fmt: skip
            answer = client.post("/api/events", json=event).json()
            assert answer["as_of"] == places[-1] + 1
            wait = {"wait_for": answer["as_of"], "limit": 100, "timeout": 20}
            assert len(client.get("/api/jobs", params=wait).json()["items"]) == 31
            lost = client.get("/api/jobs", params={"as_of": places[9] + GAP})
            assert (lost.status_code, lost.json()["code"]) == (409, "beyond_head")
            then = {"as_of": places[9], "limit": 100, "timeout": 20}
            assert len(client.get("/api/jobs", params=then).json()["items"]) == 10
        chronicled("rebuild", "--data", data)
        daemon.wait_caught_up()
        assert document("verify", "--data", data)["findings"] == []
    finally:
        daemon.stop()
    assert document("verify", "--data", data)["findings"] == []
