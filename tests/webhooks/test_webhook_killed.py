"""The daemon is killed while its webhook delivers: every event comes, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from daemon_process import DaemonProcess
from receiver import Receiver
from waiting import wait_until

COUNT = 60


def webhooks(data: Path, *arguments: str) -> Any:
    """Run ``chronicled webhooks`` with ``--json``; return the document it prints."""
    command = [sys.executable, "-m", "daemon", "webhooks", *arguments, "--data", str(data)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_killed_daemon_goes_on_telling(tmp_path: Path) -> None:
    """Twice killed in the middle, and the receiver fails now and then: none lost, order kept."""
    file = tmp_path / "chronicled.toml"
    with Receiver(lambda n: 503 if n % 17 == 3 else 200) as receiver:
        file.write_text(
            f'[[webhooks]]\nname = "w"\nurl = "{receiver.url}"\ntypes = ["job.*"]\n'
            'start = "beginning"\nbackoff_seconds = 0.01\n'
        )
        daemon = DaemonProcess(tmp_path / "data", arguments=("--config", str(file))).start()
        try:
            for kill in range(3):
                events = [
                    {
                        "specversion": "1.0",
                        "id": f"{kill}-{number}",
                        "source": "/t",
                        "type": "job.submitted",
                        "subject": f"{kill}-{number}",
                    }
                    for number in range(COUNT)
                ]
                with daemon.client() as client:
                    assert client.post("/api/events", json=events).status_code == 201
                wanted = kill * COUNT + COUNT // 3
                wait_until(lambda n=wanted: len(receiver.taken()) > n, "some were told", seconds=60)
                if kill < 2:
                    daemon.kill()
                    daemon = DaemonProcess(
                        tmp_path / "data", arguments=("--config", str(file))
                    ).start()
            wait_until(lambda: len(receiver.taken()) == 3 * COUNT, "all were told", seconds=60)
            (shown,) = webhooks(tmp_path / "data", "list")["items"]
            assert webhooks(tmp_path / "data", "resume", "w")["name"] == "w"
            with daemon.client() as client:
                refused = client.post("/api/webhooks/w/resume?skip=true")
                assert (refused.status_code, refused.json()["code"]) == (409, "webhook_not_dead")
                assert client.post("/api/webhooks/x/resume").status_code == 404
                assert 'webhook_delivered_total{webhook="w"}' in client.get("/metrics").text
        finally:
            daemon.close()
        assert receiver.taken() == sorted(receiver.taken())
        assert (shown["host"], shown["state"]) == ("127.0.0.1", "live")
        assert "hushhush" not in daemon.stderr()
