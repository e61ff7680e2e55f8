"""The files of results: nothing is deleted or written but below the root, whatever a path says."""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.archive.errors import FileInTheWay
from daemon.archive.files import Deletion, Presence, ResultFiles

CONTENT = b"GFF"
DIGEST = sha256(CONTENT).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with a file in a folder, and one outside of it."""
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "one").write_bytes(CONTENT)
    (tmp_path / "outside").write_bytes(CONTENT)
    return root


@pytest.mark.parametrize("path", ["a/one", "./a/one", "{root}/a/one", "{root}/a/../a/one"])
def test_a_file_below_the_root(root: Path, path: str) -> None:
    """However its path is written, it is read, deleted and put back."""
    files, path = ResultFiles(root), path.format(root=root)
    file = files.open(path)
    assert file is not None
    with file:
        assert file.read() == CONTENT
    assert files.presence(path, DIGEST) is Presence.SAME
    assert files.presence(path, "0" * 64) is Presence.DIFFERENT
    assert files.delete(path, "0" * 64) == (Deletion.CHANGED, DIGEST)
    assert files.delete(path, DIGEST) == (Deletion.DELETED, DIGEST)
    assert files.delete(path, DIGEST)[0] is Deletion.GONE
    assert files.is_missing(path)
    assert files.presence(path, DIGEST) is Presence.MISSING
    files.put_back(path, [CONTENT], DIGEST)
    assert (root / "a" / "one").read_bytes() == CONTENT
    assert list((root / "a").iterdir()) == [root / "a" / "one"]


def outside_paths(root: Path) -> list[str]:
    """Return paths that lead out of the root, and make the links that some of them need."""
    top = root.parent
    for name, target in (("link", top / "outside"), ("folder", top)):
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    return ["../outside", "a/../../outside", "link", "folder/outside", f"{top}/outside"]


def test_out_of_the_root(root: Path) -> None:
    """A file elsewhere is never deleted or written, by whatever way its path leads there."""
    files = ResultFiles(root)
    for path in outside_paths(root):
        assert files.delete(path, DIGEST)[0] is Deletion.KEPT, path
    (root.parent / "outside").unlink()
    for path in outside_paths(root):
        assert files.presence(path, DIGEST) is Presence.ELSEWHERE, path
        with pytest.raises(FileInTheWay):
            files.put_back(path, [CONTENT], DIGEST)
    assert not (root.parent / "outside").exists()


def test_who_may_be_read_elsewhere(root: Path) -> None:
    """A whole path is read wherever it leads; a relative one does not leave the root."""
    files = ResultFiles(root)
    paths = outside_paths(root)
    read = []
    for path in paths:
        if file := files.open(path):
            file.close()
            read.append(path)
    assert read == [f"{root.parent}/outside"]


def test_a_link_below_the_root(root: Path) -> None:
    """What is behind a link is read, and left alone: somebody else may need it."""
    (root / "link").symlink_to(root / "a" / "one")
    (root / "folder").symlink_to(root / "a")
    files = ResultFiles(root)
    for path in ("link", "folder/one", f"{root}/link"):
        assert files.presence(path, DIGEST) is Presence.SAME
        assert files.delete(path, DIGEST)[0] is Deletion.KEPT
    assert (root / "a" / "one").exists()


def test_another_way_to_the_root(root: Path) -> None:
    """A whole path may come to the root by a link that lies above it."""
    (root.parent / "way").symlink_to(root)
    files = ResultFiles(root.parent / "way")
    assert files.presence(f"{root.parent}/way/a/one", DIGEST) is Presence.SAME
    assert files.delete(f"{root.parent}/way/a/one", DIGEST)[0] is Deletion.DELETED


def test_the_daemons_own_directories(root: Path) -> None:
    """Nothing is read, deleted or written in the data directory or in the archive."""
    files = ResultFiles(root, [root / "a"])
    assert files.open("a/one") is None
    assert not files.is_missing("a/one")
    assert files.delete("a/one", DIGEST)[0] is Deletion.KEPT
    with pytest.raises(FileInTheWay):
        files.put_back("a/two", [CONTENT], DIGEST)


def test_without_a_root(root: Path) -> None:
    """Relative paths lead nowhere, whole ones are read only."""
    files = ResultFiles(None)
    assert files.open("a/one") is None
    assert not files.is_missing("a/one")
    assert files.delete(f"{root}/a/one", DIGEST)[0] is Deletion.KEPT
    assert files.presence(f"{root}/a/one", DIGEST) is Presence.SAME


@pytest.mark.parametrize("make", ["folder", "pipe"])
def test_what_is_no_file(root: Path, make: str) -> None:
    """A folder or a pipe is no result, and reading ends at once."""
    if make == "folder":
        (root / "odd").mkdir()
    else:
        os.mkfifo(root / "odd")
    files = ResultFiles(root)
    assert files.open("odd") is None
    assert not files.is_missing("odd")
    assert files.presence("odd", DIGEST) is Presence.DIFFERENT
    assert files.delete("odd", DIGEST)[0] is Deletion.KEPT
    with pytest.raises(FileInTheWay):
        files.put_back("odd", [CONTENT], DIGEST)


def test_never_over_another_file(root: Path) -> None:
    """A file that has come in between is left as it is, and nothing stays beside it."""
    (root / "a" / "one").write_bytes(b"mine")
    with pytest.raises(FileInTheWay, match="another file is there"):
        ResultFiles(root).put_back("a/one", [CONTENT], DIGEST)
    assert list((root / "a").iterdir()) == [root / "a" / "one"]
    assert (root / "a" / "one").read_bytes() == b"mine"


def test_folders_come_back(root: Path) -> None:
    """A file is put back where its folders are gone; all have the rights of the root."""
    root.chmod(0o750)
    ResultFiles(root).put_back("b/c/one", [CONTENT], DIGEST)
    assert (root / "b" / "c").stat().st_mode & 0o777 == 0o750
    assert (root / "b" / "c" / "one").stat().st_mode & 0o777 == 0o640


@given(st.lists(st.sampled_from(["a", "one", "..", ".", "", "link", "b"]), max_size=6))
def test_any_path(parts: list[str]) -> None:
    """Whatever parts a path has, what is outside of the root stays."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        (root / "a").mkdir(parents=True)
        (root / "link").symlink_to(folder)
        for place in (Path(folder) / "one", Path(folder) / "a", root / "a" / "one"):
            place.write_bytes(CONTENT)
        files, path = ResultFiles(root), "/".join(parts)
        for given_ in (path, f"{root}/{path}"):
            files.delete(given_, DIGEST)
        assert (Path(folder) / "one").exists()
        assert (Path(folder) / "a").exists()
