"""Workflow files by command, as a daemon loaded them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from commands import chronicled, document
from daemon_process import DaemonProcess
from waiting import wait_until

FILE = """
[[phase]]
task = "csv2json:hourly"
rule = "cron=0 0 * * * *&offset=-4h"
template = "gs://raw/{HOUR_SLUG}/in.csv"
[[phase]]
task = "report"
dependsOn = "nobody"
template = "?day={yyyy}"
"""


def test_a_loaded_file_is_listed_and_shown(tmp_path: Path) -> None:
    """What the interface answers, and lines that say what starts what."""
    folder = tmp_path / "workflows"
    (folder / "etl").mkdir(parents=True)
    (folder / "etl" / "hourly.toml").write_text(FILE)
    environment = {"CHRONICLED_WORKFLOWS__PATH": str(folder)}
    with closing(DaemonProcess(tmp_path / "data", environment=environment).start()) as daemon:
        with daemon.client() as client:
            wait_until(lambda: client.get("/api/workflows").json().get("items"), "loaded")
            asked = client.get("/api/workflows").json()
        listed = document("workflows", "list", "--issues", "--json", "--data", daemon.data)
        assert listed["items"] == asked["items"]
        assert document("workflows", "list", "--sound", "--json", "--data", daemon.data)[
            "items"
        ] == []  # fmt: skip
        done = chronicled("workflows", "show", "etl/hourly.toml", "--data", daemon.data)
        head, first, second, missing, *findings = done.stdout.splitlines()
        assert head.startswith("etl/hourly.toml: loaded ")
        assert first.startswith("  csv2json:hourly: cron 0 0 * * * *, next ")
        assert (second, missing) == ("  report: after nobody", "  nobody: not in the file")
        assert "unknown_depends_on" in findings[0]
