"""The commands of the backup: by a daemon, at rest, and straight from the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import chronicled, document, event, lines
from daemon_process import DaemonProcess
from waiting import wait_until

COUNT = 30


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Return the url of a place that nothing was shipped to yet."""
    return f"file://{tmp_path / 'store'}"


@pytest.fixture
def config(tmp_path: Path, place: str) -> Path:
    """Return a configuration that ships there, and does nothing else by itself."""
    file = tmp_path / "chronicled.toml"
    file.write_text(
        f'[backup]\nurl = "{place}"\nsegment_seconds = 1\nsnapshot = "off"\nprove = false\n'
        "snapshot_on_stop = false\n"
    )
    return file


@pytest.fixture
def backed(daemons: Callable[..., DaemonProcess], config: Path) -> DaemonProcess:
    """Return a daemon whose jobs are in the store."""
    daemon = daemons(arguments=("--config", str(config))).start().wait_caught_up()
    chronicled(
        "append", "--data", daemon.data, text=lines(*(event(n) for n in range(1, COUNT + 1)))
    )
    wait_until(lambda: shipped(daemon) >= COUNT, "everything is shipped", seconds=30)
    return daemon


def shipped(daemon: DaemonProcess) -> int:
    """Return up to where the log is in the store."""
    return int(document("backup", "status", "--data", daemon.data)["shipped"])


def test_a_daemon_does_the_work(backed: DaemonProcess) -> None:
    """A snapshot is taken, listed, proved and kept, and the status tells of all of it."""
    data = ("--data", backed.data)
    created = document("backup", "create", *data)
    assert created["skipped"] is False
    name = created["snapshot"]["name"]
    [listed] = document("backup", "list", *data)["items"]
    assert (listed["name"], listed["proof"]) == (name, "pending")
    proved = document("backup", "prove", *data)
    assert (proved["ok"], proved["snapshot"]["name"]) == (True, name)
    line = chronicled("backup", "list", *data).stdout.rstrip("\n").split("\t")
    assert (line[0], line[2], line[-1]) == (name, str(listed["position"]), "proved")
    pruned = document("backup", "prune", "--dry-run", *data)
    assert (pruned["dry_run"], pruned["snapshots"]) == (True, [])
    status = document("backup", "status", *data)
    assert (status["state"], status["proved_position"]) == ("shipping", listed["position"])


def test_the_work_is_told_to_people(backed: DaemonProcess) -> None:
    """Each command says in a line what came of it, and shows its progress on stderr."""
    data = ("--data", backed.data)
    created = chronicled("backup", "create", *data)
    assert created.stdout.startswith("Stored snapshots/")
    assert "backup: 50 %" in created.stderr
    proved = chronicled("backup", "prove", *data).stdout
    assert proved.startswith("Proved snapshots/")
    assert chronicled("backup", "prune", *data).stdout.startswith("Removed 0 snapshots and ")
    assert "state\tshipping" in chronicled("backup", "status", *data).stdout.splitlines()


def test_without_a_daemon_the_directory_and_the_store_are_asked(
    backed: DaemonProcess, config: Path
) -> None:
    """The same commands, with the same documents, by the configuration."""
    backed.stop()
    at_rest = ("--data", backed.data, "--config", config)
    created = document("backup", "create", *at_rest)
    assert created["snapshot"]["position"] >= COUNT
    assert document("backup", "prove", *at_rest)["ok"]
    [listed] = document("backup", "list", *at_rest)["items"]
    assert (listed["name"], listed["proof"]) == (created["snapshot"]["name"], "proved")
    assert document("backup", "prune", *at_rest)["snapshots"] == []
    status = document("backup", "status", *at_rest)
    assert (status["state"], status["snapshot"]["name"]) == ("at_rest", listed["name"])
    told = chronicled("backup", "status", *at_rest).stdout
    taken, proved = listed["taken"], listed["proved"]
    assert f"\nproved\t{listed['name']}, taken {taken}, proved {proved}\n" in told


def test_what_is_not_there_is_named(backed: DaemonProcess, place: str, tmp_path: Path) -> None:
    """A snapshot by its name, a moment with the newest there is, a place with what to check."""
    data = ("--data", backed.data)
    assert "no snapshot 'other'" in chronicled("backup", "prove", "other", *data, code=1).stderr
    beyond = ("restore", "--from", place, "--to", "99999", "--into", tmp_path / "new")
    assert "without --to that is restored" in chronicled("backup", *beyond, code=1).stderr
    nowhere = f"file://{tmp_path / 'missing'}"
    assert "Check the url" in chronicled("backup", "list", "--from", nowhere, code=1).stderr
    nowhere = f"file://{tmp_path / 'missing' / 'too'}"
    assert (
        "that the disk is mounted" in chronicled("backup", "list", "--from", nowhere, code=1).stderr
    )


def test_a_log_comes_back_from_the_store(backed: DaemonProcess, place: str, tmp_path: Path) -> None:
    """Beside the daemon that ships: the newest, a moment, or only what that would take."""
    target, past = tmp_path / "new", tmp_path / "past"
    source = ("--from", place)
    planned = document("backup", "restore", *source, "--into", target, "--dry-run")
    assert not target.exists()
    restored = document("backup", "restore", *source, "--into", target)
    assert restored["position"] >= planned["position"] >= COUNT
    assert planned["bytes"] > 0
    document("rebuild", "--data", target)
    assert document("verify", "--data", target)["position"] == restored["position"]
    done = chronicled("backup", "restore", *source, "--into", past, "--to", "7")
    assert done.stdout.startswith("Restored position 7: the first event and 1 segment, ")
    assert f"chronicled rebuild --data {past}\n" in done.stderr
    assert len(document("events", "list", "--data", past)["items"]) == 7


def test_a_log_is_never_restored_over_another(
    backed: DaemonProcess, place: str, tmp_path: Path
) -> None:
    """A directory that has one is refused with exit code 4, and not touched."""
    log = tmp_path / "other" / "log.db"
    log.parent.mkdir()
    log.write_bytes(b"mine")
    done = chronicled("backup", "restore", "--from", place, "--into", log.parent, code=4)
    assert "there is a log in" in done.stderr
    assert log.read_bytes() == b"mine"
    assert list(log.parent.iterdir()) == [log]


def test_a_takeover_is_asked_for(backed: DaemonProcess, config: Path, tmp_path: Path) -> None:
    """Not beside a daemon, not without a yes; then the log of the directory goes on with it."""
    options = ("--data", backed.data, "--config", config)
    assert "in use by process" in chronicled("backup", "takeover", "--yes", *options, code=3).stderr
    backed.stop()
    assert "--yes" in chronicled("backup", "takeover", *options, code=2).stderr
    before = document("backup", "status", *options)["epoch"]
    already = document("backup", "takeover", "--yes", *options)
    assert (already["action"], already["epoch"]) == ("kept", None)
    # Without its id the directory is another daemon's.
    (Path(backed.data) / "backup" / "writer.json").unlink()
    taken = document("backup", "takeover", "--yes", "--reason", "a test", *options)
    assert taken["epoch"] == before + 1
    assert document("backup", "status", *options)["epoch"] == before + 1


def test_where_no_backup_is_configured_that_is_said(daemon: DaemonProcess, tmp_path: Path) -> None:
    """By the daemon, and where there is neither a daemon nor a place."""
    assert document("backup", "status", "--data", daemon.data)["state"] == "off"
    for command in ("create", "list", "prove", "prune"):
        refused = chronicled("backup", command, "--data", daemon.data, code=1)
        assert "Hint: Set [backup] url" in refused.stderr
    for asked in (["status"], ["list"], ["restore", "--into", str(tmp_path / "new")]):
        refused = chronicled("backup", *asked, "--data", tmp_path / "none", code=1)
        assert "names no place" in refused.stderr


@pytest.mark.parametrize("url", ["s3://bucket", "file://relative", "gs://user:secret@bucket"])
def test_a_place_that_cannot_be_is_a_fault_of_usage(url: str, tmp_path: Path) -> None:
    """It is named without what stands in it."""
    done = chronicled("backup", "list", "--from", url, "--data", tmp_path, code=2)
    assert "command line: backup.url: " in done.stderr
    assert "secret" not in done.stderr


def test_a_proof_that_fails_is_exit_1(backed: DaemonProcess, tmp_path: Path) -> None:
    """The object that was damaged in the store is named, with what is wrong."""
    created = document("backup", "create", "--data", backed.data)
    stored: Any = tmp_path / "store" / created["snapshot"]["name"]
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(content)
    done = chronicled("backup", "prove", "--data", backed.data, code=1)
    assert done.stdout.startswith(f"Not right: {created['snapshot']['name']}")
    found = json.loads(chronicled("backup", "list", "--data", backed.data, "--json").stdout)
    assert found["items"][0]["proof"] == "failed"
