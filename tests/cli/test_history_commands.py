"""``events export``, ``events import`` and ``replay emit``: as commands, between real daemons."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from commands import chronicled, document, event, lines, start
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.demo.samples import SAMPLES
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.requests import Append
from daemon.replay.export import log_rows
from domain.events import NewEvent

BATCH = 2_000


def fill(data: Path, count: int) -> Path:
    """Make the log of a directory, at rest."""
    data.mkdir(parents=True, exist_ok=True)
    log = EventLog.open(data / "log.db")
    for first in range(0, count, BATCH):
        batch = [
            NewEvent("job.submitted", f"j{n % 50}", "/test", str(n), b'{"kind":"k"}')
            for n in range(first, min(first + BATCH, count))
        ]
        log.submit(Append(batch), lambda _: None)
        log.writer.step(1_770_000_000_000_000 + first)
    log.close()
    return data


def rows(data: Path) -> list[Any]:
    """Return every row of a directory's log."""
    with closing(LogFile(data / "log.db")) as log:
        return list(log_rows(log, 0, log.head()))


def names(folder: Path, start_: str = "") -> list[str]:
    """Return the names in a folder that begin so."""
    return sorted(each.name for each in folder.iterdir() if each.name.startswith(start_))


@pytest.mark.parametrize("name", ["history.ndjson", "history.ndjson.zst"])
def test_a_log_is_moved_by_a_file(tmp_path: Path, name: str) -> None:
    """At rest: exported and imported, plain or compressed, it is the same log."""
    data, copy, file = fill(tmp_path / "data", 3_000), tmp_path / "copy", tmp_path / name
    told = chronicled("events", "export", file, "--data", data)
    assert told.stdout == "exported 3000 events, positions 1 to 3000: a whole history\n"
    assert (file.stat().st_mode & 0o777, names(tmp_path, name)) == (0o600, [name])
    magic = file.read_bytes()[:4] == zstandard.FRAME_HEADER
    assert magic == name.endswith(".zst")
    done = chronicled("events", "import", file, "--data", copy)
    assert done.stdout.startswith("imported 3000 events: the log ")
    assert rows(copy) == rows(data)
    assert document("verify", "--data", copy, code=1)["findings"][0]["kind"] == "views"
    refused = chronicled("events", "import", file, "--data", copy, code=1)
    assert "is not empty" in refused.stderr
    chronicled("events", "export", file, "--data", copy, code=1)
    again = document("events", "export", file, "--data", copy, "--force")
    assert (again["from"], again["to"], again["complete"]) == (1, 3000, True)


def test_a_log_is_moved_by_a_pipe(tmp_path: Path) -> None:
    """What export writes, import reads; neither needs a file, nor a name of one."""
    data = fill(tmp_path / "data", 300)
    piped = chronicled("events", "export", "--data", data)
    assert "a whole history" in piped.stderr
    report = document("events", "import", "-", "--data", tmp_path / "copy", text=piped.stdout)
    assert (report["ok"], report["count"]) == (True, 300)
    assert rows(tmp_path / "copy") == rows(data)
    part = chronicled("events", "export", "-", "--data", data, "--from", "3", "--to", "4")
    assert [json.loads(each).get("position") for each in part.stdout.splitlines()[1:-1]] == [3, 4]
    refused = chronicled("events", "import", "--data", tmp_path / "x", text=part.stdout, code=1)
    assert "not a whole history" in refused.stderr
    assert "--append" in refused.stderr
    damaged = piped.stdout.replace('"id":"17"', '"id":"18"', 1)
    refused = chronicled("events", "import", "--data", tmp_path / "x", text=damaged, code=1)
    assert "line 19: logdigest should be" in refused.stderr
    assert names(tmp_path / "x") == ["chronicled.lock"]


def test_beside_a_daemon(daemon: DaemonProcess, tmp_path: Path) -> None:
    """An export goes on beside a daemon; an import is refused (3), as is a daemon's address."""
    chronicled("append", "--data", daemon.data, text=lines(event(1), event(2)))
    file = tmp_path / "history.ndjson"
    chronicled("events", "export", file, "--data", daemon.data)
    assert "in use" in chronicled("events", "import", file, "--data", daemon.data, code=3).stderr
    for command, option in (("export", "--force"), ("import", "--json")):
        refused = chronicled("events", command, file, option, "--url", daemon.url, code=1)
        assert "--data" in refused.stderr
    absent = chronicled("events", "import", tmp_path / "none", "--data", tmp_path / "x", code=1)
    assert "No such file" in absent.stderr


def test_events_of_any_export_are_appended_through_a_daemon(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """With --append they are ordinary events; known ones are duplicates, reserved ones left out."""
    source = tmp_path / "source"
    source.mkdir()
    log = EventLog.open(source / "log.db")
    batch = [
        NewEvent("job.submitted", "a", "/test", "1", b'{"kind":"k"}', extensions={"actor": "x"}),
        NewEvent("log.restored", "log", "/test", "2", b'{"epoch":2}'),
        NewEvent("job.started", "a", "/test", "3", b"{}"),
    ]
    log.submit(Append(batch), lambda _: None)
    log.writer.step(1_770_000_000_000_000)
    log.close()
    file = tmp_path / "part.ndjson.zst"
    chronicled("events", "export", file, "--data", source, "--from", "1", "--to", "3")
    needs = chronicled("events", "import", file, "--append", "--data", tmp_path / "x", code=1)
    assert "No daemon" in needs.stderr
    told = "appended 2, duplicates 0, dead letters 0, left out 1 that only the daemon records"
    done = chronicled("events", "import", file, "--append", "--data", daemon.data)
    assert done.stdout.strip() == told
    again = chronicled("events", "import", file, "--append", "--data", daemon.data)
    assert again.stdout.startswith("appended 0, duplicates 2,")
    plain = json.dumps(event(5)) + "\n" + json.dumps(event(6))
    done = chronicled("events", "import", "--append", "--data", daemon.data, text=plain)
    assert done.stdout.startswith("appended 2,")
    with daemon.client() as client:
        first = client.get("/api/events").json()["items"][0]
    assert (first["actor"], first["time"]) == ("x", "2026-02-02T02:40:00Z")
    assert "logdigest" not in first


def test_a_killed_import_leaves_no_log(tmp_path: Path) -> None:
    """By kill -9 in the middle: there is no log, and the next import makes it."""
    data, copy = fill(tmp_path / "data", 12_000), tmp_path / "copy"
    text = chronicled("events", "export", "--data", data).stdout
    process = start("events", "import", "-", "--data", copy)
    process.stdin.write(text[: len(text) * 3 // 4])
    process.stdin.flush()
    wait_until(lambda: (copy / "log.db.import").exists(), "the log is being built")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "log.db" not in names(copy)
    assert "log.db.import" in names(copy)
    chronicled("events", "import", "-", "--data", copy, text=text)
    assert names(copy) == ["chronicled.lock", "log.db"]
    assert rows(copy) == rows(data)


def test_an_interrupted_import_clears_up(tmp_path: Path) -> None:
    """Ctrl-C in the middle leaves nothing of it."""
    data, copy = fill(tmp_path / "data", 12_000), tmp_path / "copy"
    text = chronicled("events", "export", "--data", data).stdout
    process = start("events", "import", "-", "--data", copy)
    process.stdin.write(text[: len(text) * 3 // 4])
    process.stdin.flush()
    wait_until(lambda: (copy / "log.db.import").exists(), "the log is being built")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert names(copy) == ["chronicled.lock"]


def test_a_killed_export_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    """By kill -9 in the middle: what there is of it is no export, and the next one replaces it."""
    data, file = fill(tmp_path / "data", 6_000), tmp_path / "history.ndjson"
    part = tmp_path / "history.ndjson.part"
    # What is written goes no further than the reader lets it.
    os.mkfifo(part)
    process = start("events", "export", file, "--data", data)
    with part.open("rb") as reader:
        assert reader.read(100).startswith(b'{"specversion"')
        process.send_signal(signal.SIGKILL)
        process.communicate()
    part.unlink()
    part.write_bytes(b"half")
    assert names(tmp_path, "history") == ["history.ndjson.part"]
    chronicled("events", "export", file, "--data", data)
    assert names(tmp_path, "history") == ["history.ndjson"]


def test_an_export_does_not_write_where_a_link_leads(tmp_path: Path) -> None:
    """The file beside is never one that a link names."""
    data, other = fill(tmp_path / "data", 3), tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "history.part").symlink_to(other)
    chronicled("events", "export", tmp_path / "history", "--data", data, code=1)
    assert other.read_text() == "kept"


@pytest.fixture
def day(daemons: Callable[..., DaemonProcess], tmp_path: Path) -> DaemonProcess:
    """Return a daemon that has heard of a whole day of samples."""
    daemon = daemons(tmp_path / "day").start()
    for sample in SAMPLES:
        chronicled("append", sample.path, "--format", sample.format, "--data", daemon.data)
    return daemon.wait_caught_up()


def views(daemon: DaemonProcess, left_out: tuple[str, ...]) -> dict[str, Any]:
    """Return every job with its history as HTTP shows them, without what may differ."""
    with daemon.client() as client:
        head = client.get("/api/events?limit=1").json()["as_of"]
        jobs = pages(client, f"/api/jobs?wait_for={head}&timeout=20")
        entries = {
            job["id"]: pages(client, f"/api/jobs/{job['id'].replace('/', '%2F')}/history")
            for job in jobs
        }
    return {
        job["id"]: [cut(job, left_out), *(cut(each, left_out) for each in entries[job["id"]])]
        for job in jobs
    }


def pages(client: httpx.Client, path: str) -> list[Any]:
    """Return every item of a list."""
    items: list[Any] = []
    cursor = None
    while True:
        page = client.get(path, params=httpx.QueryParams(path.partition("?")[2]).merge(
            {"limit": 500} | ({"cursor": cursor} if cursor else {})
        )).json()  # fmt: skip
        items += page["items"]
        cursor = page["next"]
        if not cursor:
            return items


def cut(item: dict[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    """Return an item without some of its fields."""
    return {name: value for name, value in item.items() if name not in left_out}


def test_emission_makes_the_same_jobs(
    day: DaemonProcess, daemons: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """A second daemon that is fed with the history shows the same jobs and the same histories."""
    other = daemons(tmp_path / "other").start()
    emit = ("replay", "emit", "--data", day.data, "--to-url", other.url, "--speed", "max")
    told = document(*emit)
    assert (told["skipped"], told["duplicates"], told["events"] > 100) == (0, 0, True)
    left_out = ("last_position", "position", "recordedtime")
    found = views(day, left_out)
    assert len(found) > 10
    assert views(other, left_out) == found
    assert document(*emit)["duplicates"] == told["events"]
    part = document(*emit, "--from", "3", "--to", "7")
    assert (part["events"], part["position"]) == (5, 7)


def test_preserved_emission_makes_the_same_rows(
    day: DaemonProcess, daemons: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """With --preserve positions, versions and recorded times are the same too, row by row."""
    other = daemons(tmp_path / "other").start()
    emit = ("replay", "emit", "--data", day.data, "--to-url", other.url, "--speed", "max")
    first = document(*emit, "--preserve", "--to", "40")
    assert (first["events"], first["position"]) == (40, 40)
    document(*emit, "--preserve", "--from", "41")
    assert views(other, ()) == views(day, ())
    assert [(*row[:13], row[14]) for row in rows(other.data)] == [
        (*row[:13], row[14]) for row in rows(day.data)
    ]
    chronicled("append", "--data", other.data, text=lines(event(1)))
    chronicled("append", "--data", day.data, text=lines(event(1), event(2)))
    refused = chronicled(*emit, "--preserve", code=1)
    assert "events of its own" in refused.stderr
    assert "Go on with --from" in refused.stderr


def test_emission_waits_while_the_other_side_is_away(
    daemons: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """It waits for a daemon that is not there yet, goes on over a crash, and loses nothing."""
    data = fill(tmp_path / "data", 20_000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    other = daemons(tmp_path / "other", listen=address)
    process = start("replay", "emit", "--data", data, "--to-url", f"http://{address}",
                    "--speed", "max", "--json")  # fmt: skip
    assert "Waiting" in process.stderr.readline()
    other.start()
    log = other.data / "log.db"
    with closing(LogFile(log)) as file:
        wait_until(lambda: file.head() > 1_000, "some of it has come")
    other.kill()
    other.start()
    output, _ = process.communicate(timeout=60)
    assert json.loads(output)["position"] == 20_000
    assert [row[9] for row in rows(other.data)] == [row[9] for row in rows(data)]


def test_emission_is_refused_clearly(daemon: DaemonProcess, tmp_path: Path) -> None:
    """What the other side does not take ends it, and says where to go on; so do wrong options."""
    data = fill(tmp_path / "source", 0)
    log = EventLog.open(data / "log.db")
    for number, payload in enumerate((b'{"kind":"k"}', b'{"planet":1}')):
        batch = [NewEvent("job.submitted", "a", "/test", str(number), payload)]
        log.submit(Append(batch), lambda _: None)
        log.writer.step(1_770_000_000_000_000 + number)
    log.close()
    emit = ("replay", "emit", "--data", data)
    refused = chronicled(*emit, "--to-url", daemon.url, "--speed", "0.00001x", "--to", "1")
    assert "emitted 1 events up to position 1" in refused.stdout
    refused = chronicled(*emit, "--to-url", daemon.url, "--from", "2", code=1)
    assert "unknown field 'planet'" in refused.stderr
    assert "Go on with --from 2." in refused.stderr
    for options in (
        (),
        ("--to-stdout", "--to-url", daemon.url),
        ("--to-stdout", "--preserve"),
        ("--to-stdout", "--speed", "fast"),
        ("--to-stdout", "--from", "2026-13-01"),
    ):
        chronicled(*emit, *options, code=2)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (307, b""),
        (200, b"<html>hello</html>"),
        (200, b"[]"),
        (201, b"{}"),
        (201, b'{"events":[]}'),
        (201, b'{"events":{}}'),
    ],
)
def test_what_is_not_acknowledged_is_not_claimed(tmp_path: Path, status: int, body: bytes) -> None:
    """A server that is something else is told from one that has recorded the events."""
    fill(tmp_path / "source", 3)

    class Foreign(BaseHTTPRequestHandler):
        """Answers every request alike."""

        def do_POST(self) -> None:
            """Read it, and answer."""
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Foreign) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            failed = chronicled(
                *("replay", "emit", "--speed", "max", "--to-url", url),
                *("--data", tmp_path / "source"),
                code=1,
            )
        finally:
            server.shutdown()
            thread.join()
    assert "That is not chronicled" in failed.stderr
    assert "Go on with --from 1" in failed.stderr
    assert "emitted" not in failed.stdout


def test_an_import_whose_reader_ends_is_an_error(tmp_path: Path) -> None:
    """Without the process that reads the lines there is one clear error, and no log."""
    data, copy = fill(tmp_path / "data", 12_000), tmp_path / "copy"
    text = chronicled("events", "export", "--data", data).stdout
    process = start("events", "import", "-", "--data", copy)
    process.stdin.write(text[: len(text) * 3 // 4])
    process.stdin.flush()
    wait_until(lambda: (copy / "log.db.import").exists(), "the log is being built")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the process that reads the export ended early" in said
    assert names(copy) == ["chronicled.lock"]


def test_emission_into_a_pipe(tmp_path: Path) -> None:
    """NDJSON of the events as a producer would send them; what is said stands beside it."""
    data = fill(tmp_path / "data", 5)
    done = chronicled("replay", "emit", "--data", data, "--to-stdout", "--from", "2", "--to", "3")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["1", "2"]
    assert "emitted 2 events up to position 3, duplicates 0, left out 0" in done.stderr
