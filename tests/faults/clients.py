"""Sending events to a daemon that may refuse, hang or die, and looking what is in its log."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from daemon_process import DaemonProcess

SOURCE = "/faults"
HEADERS = {"content-type": "application/cloudevents+json"}


def event(key: str, size: int = 0) -> dict[str, Any]:
    """Return an event of a job of its own."""
    return {
        "specversion": "1.0",
        "id": key,
        "source": SOURCE,
        "type": "job.submitted",
        "subject": key,
        "data": {"kind": "k", "extra": {"filler": "x" * size}},
    }


def post(client: httpx.Client, key: str, size: int = 0) -> httpx.Response:
    """Send one event."""
    return client.post("/api/events", content=json.dumps(event(key, size)), headers=HEADERS)


def taken(client: httpx.Client, keys: Sequence[str]) -> tuple[dict[str, int], str | None]:
    """Send events one after another until the daemon is gone.

    Return the positions of those that it acknowledged, and the one that it died of.
    """
    positions: dict[str, int] = {}
    for key in keys:
        try:
            answer = post(client, key)
        except httpx.TransportError:
            return positions, key
        assert answer.status_code == 201, answer.text
        positions[key] = int(answer.json()["events"][0]["position"])
    return positions, None


def recorded(data: Path) -> dict[str, int]:
    """Return the position of each event that a client sent, by plain SQLite; each is there once."""
    query = (
        "SELECT e.id, e.position FROM events e JOIN sources s USING (source_id) "
        "WHERE s.name = ? ORDER BY e.position"
    )
    with closing(sqlite3.connect(f"file:{data / 'log.db'}?mode=ro", uri=True)) as db:
        rows = db.execute(query, (SOURCE,)).fetchall()
    found = dict(rows)
    assert len(found) == len(rows), "an event is there twice"
    return found


def verify(daemon: DaemonProcess) -> None:
    """Prove the log and the views: digests, gaps, keys, times, and the views against a replay."""
    command = [sys.executable, "-m", "daemon", "verify", "--data", str(daemon.data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "everything is as it was recorded" in result.stdout
