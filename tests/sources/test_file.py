"""Following a file: growth, rotation, truncation, restarts; each line once, in order."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from source_driving import Run, line

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Outcome, Request
from daemon.sources.board import SourceState
from daemon.sources.file import FileSource
from daemon.sources.following import rotated
from domain.errors import DiskFull
from domain.limits import Limits


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the followed file is, or will be."""
    folder = tmp_path / "followed"
    folder.mkdir()
    return folder / "out.log"


@pytest.fixture
def run(log: EventLog, path: Path) -> Run:
    """Return a source that follows the file."""
    return follow(log, path)


def follow(log: EventLog, path: Path, **settings: Any) -> Run:
    """Return a source that follows a file, as after a start of the daemon."""
    return Run(log, FileSource, path=str(path), **settings)


def write(path: Path, *numbers: int) -> None:
    """Append the lines of these events to a file."""
    with path.open("ab") as file:
        file.writelines(map(line, numbers))


def offsets(log: EventLog) -> list[int]:
    """Return what is remembered of the source in the log."""
    return [row.offset for row in log.follow_offsets("source:s@")]


def test_lines_are_taken_as_the_file_grows(run: Run, path: Path) -> None:
    """What is appended to a file is recorded, and the place is one row of the log."""
    write(path, 1, 2)
    run.until_numbers([1, 2])
    write(path, 3)
    run.until_numbers([1, 2, 3])
    assert offsets(run.log) == [path.stat().st_size]
    assert (run.status.messages, run.status.events, run.status.lag) == (3, 3, 0)


def test_lines_wait_while_the_disk_has_too_little_room(run: Run, path: Path) -> None:
    """They stay in the file, the source says why, and each is read once when there is room."""
    write(path, 1)
    run.until_numbers([1])
    run.gate.reason = "too little room"
    write(path, 2)
    run.until(lambda: "too little room" in run.status.detail, "the source says why")
    run.settle()
    assert run.numbers() == [1]
    run.gate.reason = None
    write(path, 3)
    run.until_numbers([1, 2, 3])


def test_a_file_that_is_not_there_yet_is_waited_for(run: Run, path: Path) -> None:
    """Without the file the source waits; it is read when it comes."""
    run.settle()
    assert run.status.state is SourceState.WAITING
    write(path, 1)
    run.until_numbers([1])
    assert run.status.state is SourceState.RUNNING


def test_a_line_is_taken_once_it_has_ended(run: Run, path: Path) -> None:
    """The start of a line waits for its newline."""
    path.write_bytes(line(1) + line(2)[:30])
    run.until_numbers([1])
    with path.open("ab") as file:
        file.write(line(2)[30:])
    run.until_numbers([1, 2])


def test_a_rotated_file_is_read_to_its_end_first(run: Run, path: Path) -> None:
    """After a rename the old file's late lines come before the new file's."""
    write(path, 1)
    run.until_numbers([1])
    old = path.rename(path.with_name("out.log.1"))
    write(path, 3)
    write(old, 2)
    run.until_numbers([1, 2, 3])
    assert len(offsets(run.log)) == 1


def test_a_rotated_file_is_waited_for_while_it_is_written(run: Run, path: Path) -> None:
    """As long as somebody has written to the old file a moment ago, the new one waits."""
    write(path, 1)
    run.until_numbers([1])
    run.later = 0
    old = path.rename(path.with_name("out.log.1"))
    write(path, 3)
    run.settle()
    write(old, 2)
    run.until_numbers([1, 2])
    run.later = 10_000_000
    run.until_numbers([1, 2, 3])


def test_the_last_line_of_a_rotated_file_needs_no_newline(run: Run, path: Path) -> None:
    """What a rotated file ends with is a line, as nothing more comes."""
    path.write_bytes(line(1) + line(2).rstrip())
    run.until_numbers([1])
    path.rename(path.with_name("out.log.1"))
    write(path, 3)
    run.until_numbers([1, 2, 3])


def test_a_truncated_file_is_read_from_its_start(run: Run, path: Path) -> None:
    """A file that was emptied and written again is a new one, also where it begins the same."""
    write(path, 1, 2)
    run.until_numbers([1, 2])
    os.truncate(path, 0)
    write(path, 1)
    run.until(lambda: run.status.duplicates == 1, "the same line again")
    write(path, 3)
    run.until_numbers([1, 2, 3])


def test_a_file_truncated_to_more_than_was_read_is_noticed(run: Run, path: Path) -> None:
    """Other first bytes are another file, however long it is."""
    write(path, 1)
    run.until_numbers([1])
    path.write_bytes(b"".join(map(line, [2, 3, 4, 5])))
    run.until_numbers([1, 2, 3, 4, 5])


def test_what_copytruncate_copied_is_read_in_the_copy(run: Run, path: Path) -> None:
    """Lines that were not read before the truncation are found in the copy beside the file."""
    write(path, 1)
    run.until_numbers([1])
    write(path, 2)
    shutil.copyfile(path, path.with_name("out.log.1"))
    os.truncate(path, 0)
    write(path, 3)
    run.until_numbers([1, 2, 3])


def test_a_replaced_file_is_a_new_one(run: Run, path: Path) -> None:
    """A file that another one was renamed over is read from its start."""
    write(path, 1)
    run.until_numbers([1])
    other = path.with_name("new")
    write(other, 2, 3)
    other.replace(path)
    run.until_numbers([1, 2, 3])


def test_the_same_file_goes_on_after_a_restart(log: EventLog, path: Path) -> None:
    """A new start goes on at the place in the log, and reads nothing twice."""
    write(path, 1, 2)
    run = follow(log, path)
    run.until_numbers([1, 2])
    write(path, 3)
    again = follow(log, path)
    again.until_numbers([1, 2, 3])
    assert again.status.messages == 1


@pytest.mark.parametrize(
    "names",
    [
        ["out.log.3", "out.log.2", "out.log.1"],
        ["out.log-20260203", "out-20260204.log", "out.log-20260205"],
    ],
)
def test_rotations_while_the_daemon_was_down(log: EventLog, path: Path, names: list[str]) -> None:
    """The file that was read is found by what it is, and those after it are read in their order."""
    write(path, 1)
    follow(log, path).until_numbers([1])
    write(path, 2)
    path.rename(path.with_name(names[0]))
    for number, name in enumerate(names[1:]):
        write(path, 3 + number)
        os.utime(path, (2_000_000_000 + number,) * 2)
        path.rename(path.with_name(name))
    write(path, 5)
    again = follow(log, path)
    again.later = 100_000_000_000_000
    again.until_numbers([1, 2, 3, 4, 5])
    assert again.status.messages == 4
    assert len(offsets(log)) == 1


def test_a_first_file_that_was_rotated_while_nobody_looked(log: EventLog, path: Path) -> None:
    """A file that came and was rotated between two starts is read, older ones are not."""
    write(path.with_name("out.log.2"), 9)
    os.utime(path.with_name("out.log.2"), (1_000_000_000,) * 2)
    follow(log, path).settle()
    write(path, 1)
    path.rename(path.with_name("out.log.1"))
    write(path, 2)
    follow(log, path).until_numbers([1, 2])


def test_bad_lines_are_dead_letters(run: Run, path: Path) -> None:
    """What cannot be decoded is put aside, also bytes that are no text and a line too long."""
    path.write_bytes(b"{nonsense\n\xff\xfe\n\n" + b"x" * 3_000_000 + b"\n" + line(1))
    run.until_numbers([1])
    letters = run.log.list_dead_letters(0, 10)
    assert [letter.reason for letter in letters] == ["undecodable", "undecodable", "too_large"]
    assert {letter.origin for letter in letters} == {"source:s"}
    assert (run.status.messages, run.status.dead_letters) == (4, 3)
    text = run.metrics.exposition("")[0].decode()
    assert 'chronicled_dead_letters_total{format="cloudevents"} 3.0' in text
    assert 'events_appended_total{category="job",source_kind="cloudevents"} 1.0' in text


def test_more_events_than_a_batch_may_have_come_in_pieces(log: EventLog, path: Path) -> None:
    """The size of a batch bounds one transaction, not what a file may hold."""
    run = Run(log, FileSource, Limits(batch_events=2), path=str(path))
    write(path, *range(1, 10))
    run.until_numbers(list(range(1, 10)))


def test_a_full_disk_is_waited_out(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the log refuses, the source fails and says why; then it goes on at the same line."""
    write(path, 1)
    run.until_numbers([1])
    write(path, 2)
    real = run.log.submit

    def refuse(_request: Request, answer: Any) -> None:
        refused: Outcome = DiskFull("no room")
        answer(refused)

    monkeypatch.setattr(run.log, "submit", refuse)
    run.until(lambda: run.status.state is SourceState.FAILING, "it fails")
    assert (run.status.last_error, run.status.last_error_code) == ("no room", "disk_full")
    monkeypatch.setattr(run.log, "submit", real)
    run.until_numbers([1, 2])
    assert run.status.state is SourceState.RUNNING
    assert run.status.last_error == "no room"


def test_a_line_that_the_log_cannot_take_is_put_aside_alone(
    run: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that one line brings up costs that line only: it becomes a dead letter."""
    write(path, 1, 2, 3)
    real = run.log.submit

    def refuse(request: Any, answer: Any) -> None:
        if any(event.id == "e2" for event in request.events):
            answer(ValueError("a fault of ours"))
        else:
            real(request, answer)

    monkeypatch.setattr(run.log, "submit", refuse)
    run.until_numbers([1, 3])
    assert [letter.reason for letter in run.log.list_dead_letters(0, 10)] == ["internal"]


def test_something_that_is_no_file_is_told(run: Run, path: Path) -> None:
    """A directory under the name makes the source fail, not the daemon."""
    path.mkdir()
    run.until(lambda: run.status.state is SourceState.FAILING, "it fails")
    path.rmdir()
    write(path, 1)
    run.until_numbers([1])


def test_only_what_is_named_like_a_rotation_is_one(tmp_path: Path) -> None:
    """Numbers after the name, dates before the suffix; a neighbour's own file is none."""
    names = ("w.log.2", "w.log.1", "w-1.log", "w-extra.log", "v.log.1")
    for name in (*names, "w.log"):
        (tmp_path / name).touch()
    assert [file.name for file in rotated(tmp_path / "w.log")] == ["w.log.2", "w.log.1"]
    (tmp_path / "w-20260204.log").touch()
    assert {file.name for file in rotated(tmp_path / "w.log")} == {*names[:2], "w-20260204.log"}
