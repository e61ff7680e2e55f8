"""Watching a folder: each file once for each of its contents, by whatever way it came in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from source_driving import Run, line

from daemon.eventlog.log import EventLog
from daemon.sources.board import SourceState
from daemon.sources.folder import FolderSource
from domain.limits import Limits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the watched folder."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def watch(log: EventLog, folder: Path, limits: Limits | None = None, **settings: Any) -> Run:
    """Return a source that watches a folder, as after a start of the daemon."""
    return Run(log, FolderSource, limits, kind="folder", path=str(folder), **settings)


def drop(folder: Path, name: str, body: bytes) -> Path:
    """Write a file beside the folder and rename it in."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name("beside")
    beside.write_bytes(body)
    return beside.rename(path)


def rows(log: EventLog) -> list[str]:
    """Return the files that are remembered."""
    return sorted(row.name.rsplit(":", 1)[1] for row in log.follow_offsets("source:s@"))


def test_files_are_read_as_what_they_hold(log: EventLog, folder: Path) -> None:
    """An object, an array and NDJSON are each read as that, in folders below too."""
    run = watch(log, folder)
    drop(folder, "object.json", json.dumps(json.loads(line(1)), indent=2).encode())
    drop(folder, "sub/array.json", b"[" + line(2) + b"," + line(3) + b"]")
    drop(folder, "lines.ndjson", line(4) + line(5).rstrip())
    run.until(lambda: len(run.numbers()) == 5, "all are read")
    assert sorted(run.numbers()) == [1, 2, 3, 4, 5]
    run.settle()
    assert rows(log) == ["lines.ndjson", "object.json", "sub/array.json"]
    assert (run.status.messages, run.status.lag) == (5, 0)


def test_files_wait_while_the_disk_has_too_little_room(log: EventLog, folder: Path) -> None:
    """They stay in the folder, the source says why, and each is read once when there is room."""
    run = watch(log, folder)
    drop(folder, "a", line(1))
    run.until_numbers([1])
    run.gate.reason = "too little room"
    drop(folder, "b", line(2))
    run.until(lambda: "too little room" in run.status.detail, "the source says why")
    run.settle()
    assert run.numbers() == [1]
    run.gate.reason = None
    run.until_numbers([1, 2])


def test_a_restart_takes_nothing_twice(log: EventLog, folder: Path) -> None:
    """What was taken is known from the log, dead letters included."""
    drop(folder, "a", line(1))
    drop(folder, "b", b"nonsense\n{")
    watch(log, folder).until(lambda: log.list_dead_letters(0, 10), "put aside")
    again = watch(log, folder)
    again.settle()
    assert again.status.messages == 0
    assert again.numbers() == [1]
    (letter,) = log.list_dead_letters(0, 10)
    assert (letter.count, letter.origin) == (1, "source:s/b")


def test_a_changed_file_is_taken_again(log: EventLog, folder: Path) -> None:
    """New contents under an old name are new messages; a new time alone is none."""
    run = watch(log, folder)
    path = drop(folder, "a", line(1))
    run.until_numbers([1])
    os.utime(path, (1_700_000_000,) * 2)
    run.settle()
    assert run.status.messages == 1
    drop(folder, "a", line(2))
    run.until_numbers([1, 2])
    assert rows(log) == ["a"]


def test_a_file_that_is_being_written_is_left_alone(log: EventLog, folder: Path) -> None:
    """As long as a file was written a moment ago it is not taken, and hidden ones never."""
    run = watch(log, folder)
    run.later = 0
    (folder / "a").write_bytes(line(1)[:20])
    drop(folder, ".hidden", line(8))
    drop(folder, "b.tmp", line(9))
    run.settle()
    (folder / "a").write_bytes(line(1))
    run.settle()
    assert run.status.lag == 1
    run.later = 10_000_000
    run.until_numbers([1])
    assert log.list_dead_letters(0, 10) == []


def test_only_the_files_of_the_pattern(log: EventLog, folder: Path) -> None:
    """With a pattern nothing else is read, and one with a dot reads hidden files."""
    run = watch(log, folder, pattern=".queue_*.json")
    drop(folder, "a.json", line(1))
    drop(folder, ".queue_state.json", line(2))
    run.until_numbers([2])


@pytest.mark.parametrize("after", ["delete", "move"])
def test_what_becomes_of_a_file(log: EventLog, folder: Path, tmp_path: Path, after: str) -> None:
    """A recorded file is deleted or moved, and then forgotten; what was there stays."""
    done = folder / "done"
    settings = {"after": after} | ({"moved_to": str(done)} if after == "move" else {})
    run = watch(log, folder, **settings)
    drop(folder, "sub/a", line(1))
    run.until_numbers([1])
    run.until(lambda: rows(log) == [], "forgotten")
    assert not (folder / "sub" / "a").exists()
    drop(folder, "sub/a", line(2))
    run.until_numbers([1, 2])
    run.until(lambda: rows(log) == [], "forgotten")
    if after == "move":
        assert (done / "sub" / "a").read_bytes() == line(1)
        assert sorted(path.read_bytes() for path in done.rglob("a*") if path.is_file()) == [
            line(1),
            line(2),
        ]


def test_a_large_file_is_read_in_parts(log: EventLog, folder: Path) -> None:
    """NDJSON may be larger than a request, and go on where it was after a restart."""
    limits = Limits(batch_events=3, batch_bytes=1024)
    drop(folder, "a", b"".join(map(line, range(1, 20))))
    first = watch(log, folder, limits)
    first.until(lambda: len(first.numbers()) >= 3, "a part")
    again = watch(log, folder, limits)
    again.until_numbers(list(range(1, 20)))
    assert again.status.messages < 19


def test_a_folder_that_is_not_there_is_waited_for(log: EventLog, tmp_path: Path) -> None:
    """Without the folder the source waits."""
    run = watch(log, tmp_path / "later")
    run.settle()
    assert run.status.state is SourceState.WAITING
    (tmp_path / "later").mkdir()
    drop(tmp_path / "later", "a", line(1))
    run.until_numbers([1])


def test_a_file_that_cannot_be_read_is_in_nobodys_way(
    log: EventLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are taken, and what is wrong is told."""
    opened = os.open

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    run = watch(log, folder)
    os.utime(drop(folder, "closed", line(1)), (1_700_000_000,) * 2)
    drop(folder, "open", line(2))
    run.until_numbers([2])
    assert run.status.state is SourceState.FAILING
    assert run.status.detail == "Permission denied"


def test_a_name_that_is_no_text_is_a_name(log: EventLog, folder: Path) -> None:
    """Such a file is taken and removed like any other."""
    path = folder / os.fsdecode(b"caf\xe9.json")
    path.write_bytes(line(1))
    run = watch(log, folder, after="delete")
    run.until_numbers([1])
    assert not path.exists()
    assert run.status.lag == 0
