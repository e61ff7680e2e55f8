"""``GET /api/sources`` and the metrics: how what the daemon reads by itself stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon_process import DaemonProcess
from waiting import wait_until

CONFIG = """
[[sources]]
name = "good"
kind = "file"
path = "{folder}/good.ndjson"
[[sources]]
name = "bad"
kind = "file"
path = "{folder}/bad"
[[sources]]
name = "inbox"
kind = "folder"
format = "flowlord-task"
path = "{folder}/inbox"
"""


def test_sources_are_listed_and_counted(
    tmp_path: Path, daemons: Callable[..., DaemonProcess]
) -> None:
    """Each says what it took and why it fails; one that fails is no reason not to be ready."""
    config = tmp_path / "chronicled.toml"
    config.write_text(CONFIG.format(folder=tmp_path))
    (tmp_path / "bad").mkdir()
    (tmp_path / "good.ndjson").write_text('{"specversion":"2"}\n' * 2)
    daemon = daemons(arguments=["--config", str(config)]).start().wait_caught_up()
    with daemon.client() as client:

        def sources() -> list[dict[str, Any]]:
            answer = client.get("/api/sources")
            assert answer.status_code == 200
            items: list[dict[str, Any]] = answer.json()["items"]
            return items

        wait_until(lambda: sources()[0]["dead_letters"] == 2, "the lines are put aside")
        wait_until(lambda: sources()[1]["state"] == "failing", "the directory is no file")
        good, bad, inbox = sources()
        assert (good["name"], good["messages"], good["state"]) == ("good", 2, "running")
        assert bad["last_error"]["code"] == "unreadable"
        assert (inbox["state"], inbox["format"]) == ("waiting", "flowlord-task")
        assert client.get("/readyz").json()["status"] == "ready"
        text = client.get("/metrics").text
    assert 'chronicled_source_dead_letters_total{source="good"} 2.0' in text
    assert 'chronicled_source_failing{source="bad"} 1.0' in text
    assert 'chronicled_source_lag{kind="folder",source="inbox"} 0.0' in text
    assert daemon.stop() == 0
