"""The loader: what of the files on disk comes into the log, and when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.eventlog.log import EventLog
from daemon.workflows import folder
from daemon.workflows.loader import Loader
from domain.limits import Limits

GOOD = '[[phase]]\ntask = "load"\nrule = "cron=@daily"\ntemplate = "?day={yyyy}"\n'
OTHER = GOOD.replace("daily", "hourly")
NOW = 1_800_000_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a log of its own, running."""
    log = EventLog.open(tmp_path / "log.db", synchronous="OFF")
    log.start()
    yield log
    log.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory with two workflow files, one of them in a directory of its own."""
    root = tmp_path / "workflows"
    (root / "etl").mkdir(parents=True)
    (root / "etl/hourly.toml").write_text(GOOD)
    (root / "nightly.toml").write_text(GOOD)
    return root


def look(log: EventLog, root: Path, **options: Any) -> Loader:
    """Return a new loader, as after a restart, that has looked at everything once."""
    loader = Loader(log, root, 15.0, **options)
    look_again(loader)
    return loader


def look_again(loader: Loader) -> None:
    """Take steps until the loader rests."""
    while loader.step(NOW) == 0:
        pass


def recorded(log: EventLog) -> list[tuple[str, str]]:
    """Return verb and file of every event in the log."""
    return [(event.type.partition(".")[2], event.subject) for event in log.read(0, 1000)]


def test_every_file_is_loaded_once(log: EventLog, root: Path) -> None:
    """Each file of the tree is an event under its path; a second look adds nothing."""
    loader = look(log, root)
    assert recorded(log) == [("loaded", "nightly.toml"), ("loaded", "etl/hourly.toml")]
    event = log.read(0, 1)[0]
    assert event.source == "/chronicled/workflows"
    assert event.time == NOW
    assert event.payload["phases"][0]["phase"] == "load"
    assert event.payload["issues"] == []
    look_again(loader)
    look(log, root)
    assert len(log.read(0, 1000)) == 2
    assert loader.state == (NOW, 2, ())


def test_single_file_goes_by_its_base_name(log: EventLog, root: Path) -> None:
    """Where the path is a file, that file alone is loaded."""
    look(log, root / "etl/hourly.toml")
    assert recorded(log) == [("loaded", "hourly.toml")]


def test_change_and_change_back_are_both_loaded(log: EventLog, root: Path) -> None:
    """A file that is edited and edited back has three versions in the log."""
    loader = look(log, root)
    for text in (OTHER, GOOD):
        (root / "nightly.toml").write_text(text)
        look_again(loader)
    versions = log.read_stream("workflow/nightly.toml")
    assert [event.payload["phases"][0]["cron"] for event in versions] == [
        "@daily", "@hourly", "@daily",
    ]  # fmt: skip


def test_touched_file_is_no_change(log: EventLog, root: Path) -> None:
    """The bytes count, not the times of the file."""
    loader = look(log, root)
    os.utime(root / "nightly.toml", (1, 1))
    look_again(loader)
    assert len(log.read(0, 1000)) == 2


def test_file_that_is_gone_is_removed_and_may_come_back(log: EventLog, root: Path) -> None:
    """A removal is an event of its own, once; the same bytes again are loaded again."""
    loader = look(log, root)
    (root / "nightly.toml").unlink()
    look_again(loader)
    look(log, root)
    (root / "nightly.toml").write_text(GOOD)
    look_again(loader)
    assert recorded(log)[2:] == [("removed", "nightly.toml"), ("loaded", "nightly.toml")]


def test_faulty_file_is_loaded_with_its_findings(log: EventLog, root: Path) -> None:
    """A file that is no TOML does not stop the others, and is recorded as it is."""
    (root / "nightly.toml").write_text("no toml")
    loader = look(log, root)
    event = log.read_stream("workflow/nightly.toml")[0]
    assert event.payload["issues"][0]["code"] == "undecodable"
    assert ("loaded", "etl/hourly.toml") in recorded(log)
    assert loader.state.problems == ()


def test_vanished_root_removes_nothing(log: EventLog, root: Path) -> None:
    """A path that is not there, or an empty directory in its place, leaves all as it was."""
    loader = look(log, root)
    root.rename(root.with_name("elsewhere"))
    look_again(loader)
    assert "is not there" in loader.state.problems[0]
    root.mkdir()
    look_again(loader)
    assert "is empty" in loader.state.problems[0]
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    look_again(loader)
    assert loader.state.problems == ()
    assert len(log.read(0, 1000)) == 2


def test_unreadable_file_and_directory_keep_their_versions(
    log: EventLog, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read or listed is told, is not removed, and stops nothing else."""
    loader = look(log, root)
    (root / "more.toml").write_text(GOOD)
    scandir, read = os.scandir, folder.os.open

    def refuse_directory(path: Any) -> Any:
        if Path(path).name == "etl":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    def refuse_file(path: Any, flags: int) -> int:
        if Path(path).name == "nightly.toml":
            raise PermissionError(13, "Permission denied")
        return read(path, flags)

    monkeypatch.setattr(folder.os, "scandir", refuse_directory)
    monkeypatch.setattr(folder.os, "open", refuse_file)
    look_again(loader)
    assert recorded(log)[2:] == [("loaded", "more.toml")]
    assert loader.state.problems == (
        "etl cannot be listed: permission denied",
        "nightly.toml cannot be read: permission denied",
    )


def test_odd_entries_are_not_waited_for(log: EventLog, root: Path) -> None:
    """Pipes and links to directories are passed over; a link to a file and a hidden file count."""
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "link.toml").symlink_to(root / "nightly.toml")
    (root / ".hidden").write_text(GOOD)
    (root / "dangling").symlink_to(root / "nowhere")
    look(log, root)
    assert {name for _, name in recorded(log)} == {
        "nightly.toml", "etl/hourly.toml", "link.toml", ".hidden",
    }  # fmt: skip


def test_sizes_are_bounded(log: EventLog, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge file is not read, and of too many files none counts as gone."""
    loader = look(log, root)
    (root / "huge").write_bytes(b"#" * (1024 * 1024 + 1))
    look_again(loader)
    assert loader.state.problems == ("huge cannot be read: it is larger than 1048576 bytes",)
    monkeypatch.setattr(folder, "FILES_MAX", 1)
    look_again(loader)
    assert "more than 1 files" in loader.state.problems[0]
    assert len(log.read(0, 1000)) == 2


def test_version_over_the_limit_of_an_event_says_so(log: EventLog, root: Path) -> None:
    """A file whose phases make too large an event is recorded without them, and with an error."""
    (root / "nightly.toml").write_text(GOOD * 40)
    look(log, root, limits=Limits(event_bytes=4_096))
    payload = log.read_stream("workflow/nightly.toml")[0].payload
    assert payload["phases"] == []
    assert [issue["code"] for issue in payload["issues"]] == ["too_large"]


def test_secrets_of_a_template_do_not_reach_the_log(log: EventLog, root: Path) -> None:
    """A presigned address in a template is masked in the event."""
    secret = "0123456789abcdef" * 4
    template = f"https://store.example/x?X-Amz-Credential=a&X-Amz-Signature={secret}"
    (root / "nightly.toml").write_text(GOOD.replace("?day={yyyy}", template))
    look(log, root)
    data = log.read_stream("workflow/nightly.toml")[0].data
    assert secret.encode() not in data


def test_look_that_could_not_be_recorded_is_made_again(
    log: EventLog, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the log refuses, nothing counts as loaded, and the next look records it all."""
    loader = Loader(log, root, 15.0)
    with monkeypatch.context() as patch:
        patch.setattr(log, "append", _refuse)
        with pytest.raises(OSError, match="full"):
            loader.step(NOW)
    look_again(loader)
    assert len(log.read(0, 1000)) == 2


def _refuse(*_: object, **__: object) -> None:
    raise OSError("full")
