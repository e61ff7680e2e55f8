"""A real daemon ends what was begun, however often it is killed, and serves what is archived."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_site import Site
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.archive.marker import find_marker

JOBS = [f"j{number}" for number in range(12)]


def chronicled(*arguments: object, code: int = 0, archive: str = "") -> str:
    """Run a command and return what it prints; ``archive`` is that of its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | ({"CHRONICLED_RETENTION__ARCHIVE": archive} if archive else {}),
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a closed site with archived jobs, whose originals nobody has deleted."""
    with Site(tmp_path) as site:
        monkeypatch.setattr(site.archive.archiver, "_finish", lambda *_, **__: None)
        for job in JOBS:
            site.job(job, one=job.encode() * 100)
            site.store_job(job)
    (tmp_path / "chronicled.toml").write_text(
        f'[retention]\narchive = "file://{tmp_path}/kept"\nfiles_root = "{tmp_path}/root"\n'
    )
    return site


def test_killed_again_and_again(begun: Site, daemons: Callable[..., DaemonProcess]) -> None:
    """Each life of the daemon goes on where the one before was killed; nothing is lost."""
    daemon = daemons(begun.data, arguments=("--config", str(begun.folder / "chronicled.toml")))
    dice = random.Random(1)
    left = len(begun.originals())
    assert left == len(JOBS)
    while left:
        daemon.start()
        goal = max(0, left - dice.randint(1, 5))
        wait_until(lambda goal=goal: len(begun.originals()) <= goal, "originals are deleted")
        daemon.kill()
        left = len(begun.originals())
    daemon.start().wait_caught_up()
    with daemon.client() as client:
        for job in JOBS:
            path = f"/api/events?stream=job/{job}&type=job.started"

            def shown(job: str = job) -> Any:
                return client.get(f"/api/jobs/{job}").json()["params"]

            assert wait_until(shown, "the job") == {"genome": "E. coli"}
            assert len(client.get(path).json()["items"]) == 1
    assert daemon.stop() == 0
    with Site(begun.folder) as site:
        site.settle()
        names = set()
        for job in JOBS:
            marker = find_marker(site.log, job)
            assert marker is not None
            names |= marker.objects
            [file] = marker.files
            assert b"".join(site.archive.shelf.read(file.object)) == job.encode() * 100
        assert set(site.objects()) == names
        assert site.log.verify() == []


def test_the_commands(begun: Site, daemons: Callable[..., DaemonProcess]) -> None:
    """List, show, restore and verify answer by a daemon, and on the directory at rest."""
    config = ("--config", begun.folder / "chronicled.toml")
    data = ("--data", begun.data)
    daemon = daemons(begun.data, arguments=[str(each) for each in config]).start()
    wait_until(lambda: not begun.originals(), "originals are deleted")
    daemon.wait_caught_up()
    assert "j11" in chronicled("archive", "list", *data)
    assert "j3/one.gff3" in chronicled("archive", "show", "j3", *data)
    told = chronicled("archive", "restore", "j3", "--by", "mara", *data)
    assert "1 file put back" in told
    assert set(begun.originals()) == {"j3/one.gff3"}
    assert "all right" in chronicled("archive", "verify", *data)
    assert daemon.stop() == 0
    assert "j11" in chronicled("archive", "list", *data)
    assert "1 file put back" in chronicled("archive", "restore", "j4", *data, *config)
    assert set(begun.originals()) == {"j3/one.gff3", "j4/one.gff3"}
    assert "12 jobs, 24 objects" in chronicled("archive", "verify", *data, *config)
    url = f"file://{begun.folder}/kept"
    assert "E. coli" in chronicled("jobs", "show", "j5", *data, archive=url)
    assert "no archive is configured" in chronicled("jobs", "show", "j5", *data)
    assert "job.started" in chronicled("jobs", "history", "j5", *data, archive=url)
    assert "job.started" in chronicled("events", "list", "--stream", "job/j5", *data, archive=url)
    assert "job.started" in chronicled("replay", "step", "job/j5", *data, archive=url)
    for path in (begun.folder / "kept").glob("jobs/**/file-*"):
        path.unlink()
    told = chronicled("archive", "verify", *data, *config, code=1)
    assert "12 damaged or missing" in told
    assert "no archive" in chronicled("archive", "verify", *data, code=1).lower()
    assert "not in the archive" in chronicled("archive", "restore", "j99", *data, *config, code=1)
