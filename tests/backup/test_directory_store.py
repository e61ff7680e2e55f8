"""The store in a directory: kills, locks, errors of the disk, and what is in its files."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import killed_steps
import pytest
from stores import content_of, names, put

from daemon.backup.directory_store import DirectoryRegister, DirectoryStore
from daemon.backup.errors import ObjectDamaged, StoreRefused, StoreUnavailable
from daemon.backup.store import Place


def opened(root: Path, **options: float) -> Place:
    """Return the place in a directory."""
    return Place(DirectoryStore(root, **options), DirectoryRegister(root, **options))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the directory of the place, which is not there yet."""
    return tmp_path / "kept"


@pytest.fixture
def place(root: Path) -> Place:
    """Return an empty place."""
    return opened(root)


def killed(step: str, top: Path, repository: Path) -> list[Place]:
    """Return the places in which a step was killed, one for each of its system calls."""
    command = [sys.executable, killed_steps.__file__, step, str(top)]
    run = subprocess.run(
        command,
        capture_output=True,
        cwd=repository,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert run.returncode == 0, run.stderr
    count = int(run.stdout)
    assert count >= 5
    return [opened(top / str(number)) for number in range(1, count + 1)]


def test_a_put_that_is_killed_at_any_step(tmp_path: Path, repository: Path) -> None:
    """The object is there whole or not at all, never without its metadata, and can be put again."""
    seen = set()
    for place in killed("put", tmp_path, repository):
        found = place.objects.find("segments/a")
        seen.add(found is not None)
        assert names(place, "") == (["segments/a"] if found else [])
        if found:
            assert found.metadata == {"number": "1"}
            assert content_of(place, "segments/a") == killed_steps.CONTENT
        put(place, "segments/a", killed_steps.CONTENT, number="2")
        again = place.objects.find("segments/a")
        assert again is not None
        assert again.metadata == {"number": "1" if found else "2"}
        assert content_of(place, "segments/a") == killed_steps.CONTENT
        assert names(place, "") == ["segments/a"]
    assert seen == {True, False}


def test_what_a_killed_put_was_writing_is_removed(tmp_path: Path, repository: Path) -> None:
    """The next put clears what a killed one left behind."""
    leftovers = 0
    for number, place in enumerate(killed("put", tmp_path, repository), 1):
        partial = tmp_path / str(number) / ".partial"
        leftovers += partial.is_dir() and bool(list(partial.iterdir()))
        put(place, "segments/b")
        assert list(partial.iterdir()) == []
    assert leftovers > 3


def test_a_swap_that_is_killed_at_any_step(tmp_path: Path, repository: Path) -> None:
    """The register holds the old content or the new one, and swapping again ends with the new."""
    seen = set()
    for place in killed("swap", tmp_path, repository):
        held = place.register.read()
        assert held is not None
        seen.add(held.content)
        place.register.swap(b"two", held.version)
        after = place.register.read()
        assert after is not None
        assert after.content == b"two"
    assert seen == {b"one", b"two"}


def test_a_deletion_that_is_killed_at_any_step(tmp_path: Path, repository: Path) -> None:
    """The object is there whole or not at all, and the name can be used again."""
    seen = set()
    for place in killed("delete", tmp_path, repository):
        found = place.objects.find("segments/a")
        seen.add(found is not None)
        assert names(place, "") == (["segments/a"] if found else [])
        place.objects.delete("segments/a")
        put(place, "segments/a", b"another one")
        assert content_of(place, "segments/a") == b"another one"
    assert seen == {True, False}


class SlowSource(io.BytesIO):
    """A source that says when it is read, and waits until it may go on."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.reading, self.may_go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, later."""
        self.reading.set()
        assert self.may_go_on.wait(20)
        return super().read(size)


def test_what_is_being_written_is_left_alone(root: Path, place: Place) -> None:
    """A slow put holds nobody up, and nobody takes its file for one of a killed process."""
    source = SlowSource(b"content")
    slow = threading.Thread(
        target=place.objects.put_if_absent, args=("segments/slow", source, 7, {})
    )
    slow.start()
    assert source.reading.wait(20)
    other = opened(root)
    put(other, "segments/quick")
    other.register.swap(b"one", None)
    assert names(other, "") == ["manifest.json", "segments/quick"]
    source.may_go_on.set()
    slow.join(20)
    assert content_of(other, "segments/slow") == b"content"


def test_a_lock_that_is_never_let_go(root: Path, place: Place) -> None:
    """Who waits for another process gives up in bounded time; reading needs no lock."""
    put(place, "segments/a")
    hurried = opened(root, timeout_seconds=0.1)
    with (root / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            put(hurried, "segments/b")
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            hurried.register.swap(b"one", None)
        assert time.monotonic() - began < 5
        assert content_of(hurried, "segments/a") == b"content"
    put(hurried, "segments/b")


def test_files_and_folders_are_for_their_owner_only(root: Path, place: Place) -> None:
    """Files are 0600, folders 0700, whatever the umask says."""
    before = os.umask(0)
    try:
        put(place, "segments/deep/a")
        place.register.swap(b"one", None)
    finally:
        os.umask(before)
    for path in [root, *root.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_reading_makes_nothing(root: Path, place: Place) -> None:
    """A place that is only looked at is not made."""
    assert place.objects.find("segments/a") is None
    assert names(place, "") == []
    assert place.register.read() is None
    place.objects.delete("segments/a")
    assert not root.exists()


@pytest.mark.parametrize("make", ["nothing", "a file"])
def test_a_place_that_cannot_be(tmp_path: Path, make: str) -> None:
    """A missing parent (a disk that is not mounted) or a file is refused, to look at and to use."""
    root = tmp_path / "disk" / "kept" if make == "nothing" else tmp_path / "file"
    if make == "a file":
        root.write_text("")
    place = opened(root)
    for refused in (
        lambda: put(place, "a"),
        lambda: place.objects.find("a"),
        lambda: names(place, ""),
        lambda: place.register.read(),
        lambda: place.register.swap(b"one", None),
    ):
        with pytest.raises(StoreRefused, match=r"no such directory|not a directory"):
            refused()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, StoreRefused),
        (errno.EPERM, StoreRefused),
        (errno.EROFS, StoreRefused),
        (errno.EIO, StoreUnavailable),
        (errno.ENOSPC, StoreUnavailable),
        (errno.EDQUOT, StoreUnavailable),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync", "link"])
def test_errors_of_the_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type[Exception]
) -> None:
    """A full or broken disk may pass, missing rights do not; nothing of the object is there."""
    put(place, "segments/before")
    with monkeypatch.context() as patched:

        def fail(*arguments: object, **options: object) -> None:
            raise OSError(number, os.strerror(number))

        patched.setattr(os, call, fail)
        with pytest.raises(kind, match="segments/a: ") as caught:
            put(place, "segments/a")
    assert kind is StoreRefused or os.strerror(number) in str(caught.value)
    assert names(place, "") == ["segments/before"]
    put(place, "segments/a")


@pytest.mark.needs("root", "mount")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """What does not fit is told as such, leaves nothing behind, and what fits goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        place = opened(disk / "kept")
        with pytest.raises(StoreUnavailable, match="No space left on device"):
            put(place, "segments/large", bytes(2 << 20))
        put(place, "segments/small")
        assert names(place, "") == ["segments/small"]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("damage", [None, b"{}", b"not JSON"])
def test_lost_metadata(root: Path, place: Place, damage: bytes | None) -> None:
    """An object whose description is gone is described by its file, and still readable."""
    stored = put(place, "segments/a", number="1")
    description = root / ".metadata" / "segments" / "a.json"
    description.unlink()
    if damage is not None:
        description.write_bytes(damage)
    found = place.objects.find("segments/a")
    assert found is not None
    assert (found.size, found.crc32c, found.metadata) == (7, stored.crc32c, {})
    assert content_of(place, "segments/a") == b"content"


@pytest.mark.parametrize("content", [b"", b"conte", b"c0ntent", b"content and more"])
def test_a_damaged_object(root: Path, place: Place, content: bytes) -> None:
    """A file that is not what was stored is damaged, be it shorter, longer or another one."""
    put(place, "segments/a")
    (root / "segments" / "a").write_bytes(content)
    with pytest.raises(ObjectDamaged, match="segments/a"):
        content_of(place, "segments/a")


def test_a_name_cannot_be_an_object_and_a_folder(place: Place) -> None:
    """What a directory cannot hold is refused, where a bucket could."""
    put(place, "segments/a")
    for name in ("segments", "segments/a/b"):
        with pytest.raises(StoreRefused, match="directory"):
            put(place, name)


def test_the_file_of_an_object_is_its_content(root: Path, place: Place) -> None:
    """An object is a plain file of its name, so that a backup can be read without us."""
    put(place, "segments/a", b"plain")
    place.register.swap(b"{}", None)
    assert (root / "segments" / "a").read_bytes() == b"plain"
    assert (root / "manifest.json").read_bytes() == b"{}"
    assert place.objects.url == root.as_uri()
