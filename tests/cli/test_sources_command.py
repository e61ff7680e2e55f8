"""``chronicled sources``: the list of what a daemon reads by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from commands import chronicled, document
from daemon_process import DaemonProcess

CONFIG = """
[[sources]]
name = "spool"
kind = "folder"
path = "{spool}"
"""


def test_sources_are_listed(daemons: Callable[..., DaemonProcess], tmp_path: Path) -> None:
    """Each is shown with its state; the list is asked for as a whole, for it has no pages."""
    spool = tmp_path / "spool"
    spool.mkdir()
    config = tmp_path / "chronicled.toml"
    config.write_text(CONFIG.format(spool=spool))
    daemon = daemons(arguments=("--config", str(config))).start()
    at = ("--socket", daemon.socket_path)
    assert "spool" in chronicled("sources", "list", *at).stdout
    [source] = document("sources", "list", *at)["items"]
    assert (source["name"], source["kind"]) == ("spool", "folder")
