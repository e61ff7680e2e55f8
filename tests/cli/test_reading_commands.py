"""The commands that ask: people's and machines' output, by a daemon and on files at rest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from commands import chronicled, document, documents, event, lines, start
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.cli.directory import DirectoryReader
from daemon.cli.listing import read_list
from projections import walks

RUN = "run-1"

STORY = (
    event(1, correlationid=RUN, data={"kind": "etl", "name": "load\x1b[2J", "owner": "mara",
                                             "queue": "nightly"}),
    event(2, type="job.started", subject="job-1", time="2026-02-04T10:00:30Z",
          data={"worker": "w1"}),
    event(3, type="job.failed", subject="job-1", time="2026-02-04T10:01:00Z",
          data={"error": {"class": "E", "message": "no such table"}}),
    event(4, subject="a/b ü?#/history", data={"kind": "odd", "name": "odd id"}),
    event(5, type="alert.raised", subject="disk full/1",
          data={"severity": "error", "kind": "disk", "message": "full", "job": "job-1"}),
    event(6, type="file.observed", subject="gs://bucket/a.csv",
          data={"path": "gs://bucket/a.csv", "size": 12}),
)  # fmt: skip


@pytest.fixture
def told(daemon: DaemonProcess) -> DaemonProcess:
    """Return a daemon that knows the story, with its views caught up."""
    chronicled("append", "--data", daemon.data, text=lines(*STORY) + "broken\n")
    with daemon.client() as client:
        assert client.get("/api/jobs", params={"wait_for": len(STORY)}).status_code == 200
    return daemon


LISTS = {
    "jobs list": ["/api/jobs", "job-1"],
    "alerts list": ["/api/alerts", "disk full/1"],
    "queues list": ["/api/queues", "nightly"],
    "files list": ["/api/files", "gs://bucket/a.csv"],
    "events list": ["/api/events", "job.started"],
    "deadletters list": ["/api/deadletters", "broken"],
}


@pytest.mark.parametrize("command", LISTS)
def test_a_list_is_the_same_document_as_by_http(told: DaemonProcess, command: str) -> None:
    """With --json a list is what the HTTP interface answers; in a pipe it is one line an item."""
    path, shown = LISTS[command]
    with told.client() as client:
        wanted = client.get(path).json()
    assert wanted["items"]
    assert document(*command.split(), "--data", told.data) == wanted
    plain = chronicled(*command.split(), "--data", told.data)
    assert len(plain.stdout.splitlines()) == len(wanted["items"])
    assert shown in plain.stdout
    assert plain.stderr == ""


def test_every_way_to_the_daemon_gives_the_same(told: DaemonProcess) -> None:
    """By directory, by socket and by URL the same daemon answers."""
    answers = [
        document("jobs", "list", *way)
        for way in (
            ("--data", told.data),
            ("--socket", told.socket_path),
            ("--url", told.url),
        )
    ]
    assert answers[0] == answers[1] == answers[2]
    assert document("jobs", "list", STATE_DIRECTORY=str(told.data)) == answers[0]


def test_a_list_longer_than_a_page_is_one_document(daemon: DaemonProcess) -> None:
    """--limit may be over what the daemon gives at once; the cursor goes on behind it."""
    count = 2_300
    chronicled(
        "append", "--data", daemon.data, text=lines(*(event(n) for n in range(1, count + 1)))
    )
    events = document("events", "list", "--limit", "1500", "--data", daemon.data)
    assert [each["position"] for each in events["items"]] == list(range(1, 1501))
    rest = document(
        "events", "list", "--limit", "5000", "--cursor", events["next"], "--data", daemon.data
    )
    assert [each["position"] for each in rest["items"]] == list(range(1501, count + 1))
    assert rest["next"] is None


def test_a_list_goes_on_after_an_empty_page(
    told: DaemonProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that found nothing in what it looked at is not the end of the list."""
    monkeypatch.setattr(walks, "LOOKS", 1)
    monkeypatch.setattr(walks, "FEW", 0)
    asked = {"kind": "odd", "sort": "-updated"}
    with DirectoryReader(told.data) as reader:
        first = reader.get("/api/jobs", asked)
        assert first["items"] == []
        assert first["next"] is not None
        answer = read_list(reader, "/api/jobs", asked, limit=1)
    assert [job["name"] for job in answer["items"]] == ["odd id"]


def test_filters_reach_the_daemon(told: DaemonProcess) -> None:
    """Each filter of a list filters; several statuses are one or the other."""

    def ids(*options: str) -> list[str]:
        items = document("jobs", "list", *options, "--data", told.data)["items"]
        return [item["id"] for item in items]

    assert ids("--status", "failed") == ["job-1"]
    assert set(ids("--status", "failed", "--status", "submitted")) == {"job-1", STORY[3]["subject"]}
    assert ids("--kind", "odd") == [STORY[3]["subject"]]
    assert ids("--correlation", RUN) == ["job-1"]
    assert ids("--owner", "mara") == ["job-1"]
    assert ids("-q", "table") == ["job-1"]
    assert ids("--until", "2026-02-04T09:00:00Z") == []
    assert ids("--sort", "submitted", "--limit", "1") == ["job-1"]


def test_a_job_is_shown_with_its_history(told: DaemonProcess) -> None:
    """One job's fields and transitions, as a document and as lines."""
    job = document("jobs", "show", "job-1", "--data", told.data)
    assert (job["status"], job["owner"]) == ("failed", "mara")
    shown = chronicled("jobs", "show", "job-1", "--data", told.data).stdout
    assert "status\tfailed\n" in shown
    assert "name\tload\\x1b[2J\n" in shown
    history = document("jobs", "history", "job-1", "--data", told.data)
    assert [entry["to"] for entry in history["items"]] == ["submitted", "running", "failed"]
    plain = chronicled("jobs", "history", "job-1", "--all-attempts", "--data", told.data).stdout
    assert "no such table" in plain


def test_as_of_shows_what_was_known_then(told: DaemonProcess) -> None:
    """A position in the past gives the state of that position."""
    job = document("jobs", "show", "job-1", "--as-of", "2", "--data", told.data)
    assert (job["status"], job["as_of"]) == ("running", 2)
    history = document("jobs", "history", "job-1", "--as-of", "1", "--data", told.data)
    assert [entry["to"] for entry in history["items"]] == ["submitted"]


def test_an_id_may_hold_any_character(told: DaemonProcess) -> None:
    """Slashes, spaces, question marks and "/history" at the end are part of the id."""
    subject = STORY[3]["subject"]
    assert document("jobs", "show", subject, "--data", told.data)["name"] == "odd id"
    history = document("jobs", "history", subject, "--data", told.data)
    assert len(history["items"]) == 1


def test_an_alert_is_acknowledged_and_resolved(told: DaemonProcess) -> None:
    """Decisions are events; the list shows the state they lead to."""
    alert = "disk full/1"
    done = chronicled(
        "alerts", "ack", alert, "--by", "ines", "--reason", "cleaning", "--data", told.data
    )
    assert done.stdout == "disk full/1: acknowledged\n"
    receipt = document("alerts", "resolve", alert, "--by", "ines", "--data", told.data)
    assert receipt["events"][0]["stream"] == f"alert/{alert}"
    with told.client() as client:
        client.get("/api/alerts", params={"wait_for": receipt["as_of"]})
    (shown,) = document("alerts", "list", "--state", "resolved", "--data", told.data)["items"]
    assert (shown["acknowledged_by"], shown["resolved_by"]) == ("ines", "ines")


def test_the_summary_names_a_failed_projection(told: DaemonProcess) -> None:
    """A projection that stands still is told beside the answer, until it is rebuilt."""
    told.stop()
    with closing(apsw.Connection(str(told.data / "views.db"))) as db:
        db.execute("DROP TABLE job_history")
    told.start()
    chronicled("append", "--data", told.data, text=lines(event(7, subject="later")))
    shown = wait_until(
        lambda: (seen := chronicled("summary", "--data", told.data)).stderr and seen,
        "it has failed",
    )
    assert "job_history stands still at event" in shown.stderr
    chronicled("rebuild", "job_history", "--data", told.data)
    assert chronicled("summary", "--data", told.data).stderr == ""


def test_the_summary_equals_the_interface(told: DaemonProcess) -> None:
    """The document is the daemon's; the lines for people hold its numbers."""
    with told.client() as client:
        wanted = client.get("/api/summary").json()
    assert document("summary", "--data", told.data) == wanted
    plain = chronicled("summary", "--data", told.data).stdout
    assert "failed\t1" in plain


def test_a_tail_prints_what_is_there_and_what_comes(told: DaemonProcess) -> None:
    """From a position on, and without one only new events; --limit ends it."""
    there = documents("events", "tail", "--after", "0", "--limit", "6", "--data", told.data)
    assert [each["position"] for each in there] == [1, 2, 3, 4, 5, 6]
    only = documents(
        "events", "tail", "--after", "0", "--type", "job.failed", "--limit", "1",
        "--data", told.data,
    )  # fmt: skip
    assert [each["position"] for each in only] == [3]
    plain = chronicled("events", "tail", "--after", "3", "--limit", "1", "--data", told.data)
    assert "job.submitted" in plain.stdout


def test_a_tail_goes_on_across_a_restart(told: DaemonProcess) -> None:
    """A daemon that is killed and comes back continues the tail without loss or repeat."""
    process = start("events", "tail", "--after", "5", "--data", told.data)
    assert process.stdout.readline().startswith("6\t")
    told.kill()
    told.start()
    chronicled("append", "--data", told.data, text=lines(event(7)))
    assert process.stdout.readline().startswith("7\t")
    process.terminate()
    process.communicate()


READS = ("jobs list", "jobs show job-1", "jobs history job-1", "alerts list", "files list",
         "events list", "summary", "deadletters list")  # fmt: skip


def test_without_a_daemon_the_files_answer_the_same(told: DaemonProcess) -> None:
    """Reading commands work on a directory at rest, say so, and change nothing in it."""
    before = {command: document(*command.split(), "--data", told.data) for command in READS}
    told.stop()
    contents = {path: path.read_bytes() for path in told.data.glob("*.db")}
    for command in READS:
        done = chronicled(*command.split(), "--json", "--data", told.data)
        assert json.loads(done.stdout) == before[command]
        assert "No daemon runs" in done.stderr
    assert {path: path.read_bytes() for path in told.data.glob("*.db")} == contents
    error = chronicled("jobs", "show", "job-99", "--data", told.data, code=1).stderr
    assert "Not found" in error


def test_a_killed_daemons_files_can_be_read(told: DaemonProcess) -> None:
    """After a crash the newest events are still in the journal; they are read."""
    told.kill()
    events = document("events", "list", "--data", told.data)
    assert [each["position"] for each in events["items"]] == [1, 2, 3, 4, 5, 6]


def test_commands_that_need_a_daemon_say_so(tmp_path: Path) -> None:
    """Acting and following need a daemon; an empty directory has nothing to read."""
    for command in ("alerts ack x", "alerts resolve x", "events tail"):
        error = chronicled(*command.split(), "--data", tmp_path, code=1).stderr
        assert error.startswith("Error: No daemon")
        assert "Hint:" in error
    for command in ("jobs list", "events list", "summary", "verify", "rebuild"):
        error = chronicled(*command.split(), "--data", tmp_path, code=1).stderr
        assert "Error: No event log" in error
    assert list(tmp_path.iterdir()) == []


def test_problems_are_one_clear_error(told: DaemonProcess) -> None:
    """What the daemon refuses is told with its hint, and nothing is on standard output."""
    cases = {
        ("jobs", "show", "job-99"): "Not found",
        ("jobs", "list", "--status", "done"): "Invalid",
        ("jobs", "list", "--cursor", "nonsense"): "Invalid cursor",
        ("jobs", "list", "--since", "yesterday"): "Invalid",
        ("jobs", "show", "job-1", "--as-of", "99"): "Beyond the head",
        ("alerts", "ack", "nothing"): "Not found",
        ("rebuild", "job"): "Not found",
    }
    for arguments, title in cases.items():
        done = chronicled(*arguments, "--data", told.data, code=1)
        assert done.stdout == ""
        assert done.stderr.startswith(f"Error: {title}"), done.stderr
        assert "Hint: " in done.stderr


def test_a_daemon_that_does_not_answer_is_told(tmp_path: Path) -> None:
    """A wrong URL or socket is an error with the address in it."""
    by_url = chronicled("jobs", "list", "--url", "http://127.0.0.1:9", code=1).stderr
    assert "http://127.0.0.1:9" in by_url
    by_socket = chronicled("jobs", "list", "--socket", tmp_path / "none", code=1).stderr
    assert str(tmp_path / "none") in by_socket
    nonsense = chronicled("jobs", "list", "--url", "nonsense", code=1).stderr
    assert nonsense.startswith("Error: ")


def test_text_that_is_not_utf_8_is_an_error_not_a_crash(told: DaemonProcess) -> None:
    """Bytes of another encoding on the command line find nothing, or are refused."""
    odd = os.fsdecode(b"caf\xe9")
    assert "Not found" in chronicled("jobs", "show", odd, "--data", told.data, code=1).stderr
    assert "Not text" in chronicled(
        "jobs", "list", "--name", odd, "--data", told.data, code=1
    ).stderr  # fmt: skip


def test_a_directory_out_of_reach_is_told(tmp_path: Path) -> None:
    """What the system refuses is one clear error."""
    (tmp_path / "file").write_text("")
    for command in ("jobs list", "append"):
        done = chronicled(*command.split(), "--data", tmp_path / "file" / "below", code=1)
        assert done.stderr.startswith("Error: ")
    (tmp_path / "loop").symlink_to("loop")
    done = chronicled("jobs", "list", "--data", tmp_path / "loop", code=1)
    assert str(tmp_path / "loop") in done.stderr


def test_a_closed_pipe_is_no_error_message(told: DaemonProcess) -> None:
    """`chronicled ... | head` ends quietly."""
    process = start("events", "list", "--data", told.data)
    process.stdout.close()
    err = process.stderr.read()
    process.stdin.close()
    process.wait()
    process.stderr.close()
    assert "Traceback" not in err
    assert "Exception" not in err


def test_a_locked_directory_is_exit_3(daemons: Callable[..., Any], tmp_path: Path) -> None:
    """A second daemon on the directory ends with 3 and says who holds it."""
    daemon = daemons().start()
    arguments = ("--listen", "127.0.0.1:0", "--socket", tmp_path / "second")
    done = chronicled("serve", "--data", daemon.data, *arguments, code=3)
    assert str(daemon.pid) in done.stderr + done.stdout
    assert document("jobs", "list", "--data", daemon.data)["items"] == []


def test_a_queue_is_shown_and_recovered(told: DaemonProcess) -> None:
    """What runs is shown with what waits; recovering shows what was interrupted, once."""
    running = event(7, type="job.started", subject="job-1", time="2026-02-04T10:05:00Z", data={})
    chronicled("append", "--data", told.data, text=lines(running))
    with told.client() as client:
        wanted = client.get("/api/queues/nightly", params={"wait_for": 7}).json()
    assert document("queues", "show", "nightly", "--data", told.data) == wanted
    plain = chronicled("queues", "show", "nightly", "--data", told.data)
    assert "1 running, 0 waiting, 0 ended" in plain.stdout
    assert "job-1" in plain.stdout
    answer = document("queues", "recover", "nightly", "--by", "ana", "--data", told.data)
    assert [job["id"] for job in answer["jobs"]] == ["job-1"]
    again = chronicled("queues", "recover", "nightly", "--data", told.data)
    assert again.stdout == "nightly: 0 interrupted\n"
