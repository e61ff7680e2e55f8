"""A disk that turns read-only under a running daemon, as the kernel does with a damaged one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients import post, recorded, verify
from daemon_process import DaemonProcess
from waiting import wait_until

Daemons = Callable[..., DaemonProcess]
pytestmark = pytest.mark.needs("root", "mount", "mkfs.ext4")


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    """Mount an image of a disk for a while."""
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return an empty disk of 64 MB."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    return image


def test_a_disk_that_turns_read_only(daemons: Daemons, tmp_path: Path, image: Path) -> None:
    """503 from then on, nothing lost, reading goes on; on the mended disk it is all there."""
    place = tmp_path / "mounted"
    place.mkdir()
    daemon = daemons(place / "data")
    daemon.stderr_path = tmp_path / "stderr"
    with mounted(image, place):
        with daemon.start().wait_caught_up().client() as client:
            before = [f"before-{number}" for number in range(20)]
            for key in before:
                assert post(client, key).status_code == 201
            # What ext4 does by itself after an error of the device.
            subprocess.run(["mount", "-o", "remount,abort", str(place)], check=True)
            answers = [post(client, f"during-{number}") for number in range(3)]
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["code"] for answer in answers} == {"storage_failed"}
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["log"]["code"]) == (503, "storage_failed")
            assert client.get("/healthz").status_code == 200
            found = client.get("/api/events?limit=100").json()["items"]
            assert [event["id"] for event in found] == before
        # It cannot write what is left into the database, and ends all the same.
        daemon.stop()
    wait_until(lambda: not is_attached(image), "the disk is let go")
    subprocess.run(["e2fsck", "-fy", str(image)], check=False, capture_output=True)
    with mounted(image, place):
        with daemon.start().wait_caught_up().client() as client:
            assert post(client, "during-0").status_code == 201
        assert daemon.stop() == 0
        assert list(recorded(daemon.data)) == [*before, "during-0"]
        verify(daemon)


def is_attached(image: Path) -> bool:
    """Return whether an image is a loop device still."""
    listed = subprocess.run(
        ["losetup", "--associated", str(image)], check=True, capture_output=True
    )
    return bool(listed.stdout.strip())
