"""A dead letter's life over restarts and restores, by the commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from daemon_process import DaemonProcess

TASK = {
    "type": "load",
    "info": "x" * 1500,
    "created": "2026-02-04T10:00:00.25Z",
    "id": "3f0c6a52",
}


def deadletters(data: Path, *arguments: str, code: int = 0) -> list[Any]:
    """Run ``chronicled deadletters`` with ``--json``; return the documents it prints."""
    command = [sys.executable, "-m", "daemon", "deadletters", *arguments]
    done = subprocess.run(
        [*command, "--data", str(data), "--json"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_line_over_a_limit_is_retried_after_the_limit_was_raised(tmp_path: Path) -> None:
    """It appears with its own id and time, and is told as retried after one more restart."""
    data = tmp_path / "data"
    small = {"CHRONICLED_SERVER__EVENT_BYTES": "1024"}
    daemon = DaemonProcess(data, environment=small).start()
    try:
        with daemon.client() as client:
            for line in (json.dumps(TASK), "{broken"):
                client.post(
                    "/api/intake/flowlord-task?on_error=deadletter",
                    content=line,
                    headers={"content-type": "application/x-ndjson"},
                )
        failed = deadletters(data, "retry", "1", code=1)
        assert (failed[0]["code"], failed[0]["id"]) == ("still_undecodable", 1)
    finally:
        daemon.close()
    (at_rest,) = deadletters(data, "list", "--state", "open")
    assert [item["reason"] for item in at_rest["items"]] == ["too_large", "undecodable"]
    daemon = DaemonProcess(data).start()
    try:
        told = deadletters(data, "retry", "--all", "--by", "ana", code=1)
        assert [(each["id"], each["state"]) for each in told] == [(1, "retried"), (2, "open")]
        with daemon.client() as client:
            first = client.get("/api/events").json()["items"][0]
            sent = client.post("/api/intake/flowlord-task", json=TASK).json()["events"][0]
            assert first["time"].startswith("2026-02-04T10:00:00.25")
            assert (sent["duplicate"], sent["id"]) == (True, first["id"])
        assert deadletters(data, "discard", "2")[0]["state"] == "discarded"
    finally:
        daemon.close()
    assert deadletters(data, "show", "1")[0]["state"] == "retried"
    assert deadletters(data, "list", "--state", "open")[0]["items"] == []


def test_what_was_decided_comes_back_with_the_backup(tmp_path: Path) -> None:
    """A log that is brought back has its dead letters, and their states."""
    data = tmp_path / "data"
    backed = {"CHRONICLED_BACKUP__URL": f"file://{tmp_path}/place"}
    daemon = DaemonProcess(data, environment=backed).start()
    try:
        with daemon.client() as client:
            client.post(
                "/api/intake/flowlord-task?on_error=deadletter",
                content="{one\n{two\n",
                headers={"content-type": "application/x-ndjson"},
            )
            assert client.post("/api/deadletters/2/discard").status_code == 201
        assert daemon.stop() == 0
    finally:
        daemon.close()
    shutil.rmtree(data)
    daemon = DaemonProcess(data, environment=backed).start()
    try:
        with daemon.client() as client:
            items = client.get("/api/deadletters").json()["items"]
        assert [(item["raw"], item["state"]) for item in items] == [
            ("{one", "open"),
            ("{two", "discarded"),
        ]
    finally:
        daemon.close()


def test_a_corrected_file_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    """The command says what is wrong with the file, without a traceback."""
    file = tmp_path / "latin"
    file.write_bytes(b"\xff")
    command = [sys.executable, "-m", "daemon", "deadletters", "retry", "1", "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
