"""diff, timeline, trace and replay step: by a daemon, on files at rest, and on a real terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PROGRAM, chronicled, document, documents, environment, event, lines
from daemon_process import DaemonProcess

RUN = {"correlationid": "run-1"}


def at(second: int) -> dict[str, str]:
    """Return the attribute for a time."""
    return {"time": f"2026-02-04T10:00:{second:02}Z"}


STORY = (
    event(1, subject="top", data={"kind": "etl", "name": "load"}, **RUN, **at(0)),
    event(2, subject="kid", data={"kind": "step", "parent": "top"}, **at(1)),
    event(3, type="job.started", subject="kid", data={"worker": "w\x1b[2J"}, **at(2)),
    event(4, type="job.failed", subject="kid", data={"error": {"message": "no such table"}},
          **at(32)),
    event(5, type="job.queued", subject="kid", data={}, **at(1)),
    event(6, type="alert.raised", subject="kid-fell", data={"severity": "error", "job": "kid"},
          **at(33)),
    event(7, subject="other", data={"kind": "check"}, **RUN, **at(34)),
)  # fmt: skip


@pytest.fixture
def told(daemon: DaemonProcess) -> DaemonProcess:
    """Return a daemon that knows the story, with its views caught up."""
    chronicled("append", "--data", daemon.data, text=lines(*STORY))
    with daemon.client() as client:
        answer = client.get(f"/api/timeline?job=top&wait_for={len(STORY)}")
        assert answer.status_code == 200
    return daemon


def test_a_difference_is_the_document_of_http(told: DaemonProcess) -> None:
    """By stream and by jobs; in a pipe one line a field, or a job."""
    stream = ("job/kid", "--from", "3", "--to", "4", "--data", told.data)
    with told.client() as client:
        wanted = client.get("/api/diff?stream=job/kid&from=3&to=4").json()
        jobs = client.get("/api/diff?jobs=true&from=2").json()
    assert document("diff", *stream) == wanted
    assert document("diff", "kid", *stream[1:]) == wanted
    shown = chronicled("diff", *stream).stdout.splitlines()
    assert "/status\trunning\tfailed\tjob.failed\t2026-02-04T10:00:32Z\t4" in shown
    assert len(shown) == len(wanted["changes"])
    assert document("diff", "--jobs", "--from", "2", "--data", told.data) == jobs
    listed = chronicled("diff", "--jobs", "--from", "2", "--limit", "1", "--data", told.data)
    assert listed.stdout.split("\t")[1:4] == ["ended", "submitted", "failed"]


@pytest.mark.parametrize("arguments", [["diff"], ["diff", "job/a", "--jobs"]])
def test_a_difference_is_of_a_stream_or_of_jobs(tmp_path: Path, arguments: list[str]) -> None:
    """Neither or both is a wrong command."""
    done = chronicled(*arguments, "--data", tmp_path, code=2)
    assert "name a stream, or say --jobs" in done.stderr


def test_points_that_cannot_be_compared_are_one_error(told: DaemonProcess) -> None:
    """The daemon's own words are shown, with the parameter."""
    done = chronicled("diff", "--jobs", "--from", "5", "--to", "3", "--data", told.data, code=1)
    assert "from (position 5) lies after to (position 3)" in done.stderr
    done = chronicled("diff", "job/kid", "--from", "2 hours", "--data", told.data, code=1)
    assert "how long ago such as -2h" in done.stderr


def test_a_timeline_is_the_document_of_http(told: DaemonProcess) -> None:
    """The whole of it however many pages it takes; in a pipe one line an event."""
    with told.client() as client:
        wanted = client.get("/api/timeline?stream=alert/kid-fell").json()
    assert document("timeline", "alert/kid-fell", "--data", told.data) == wanted
    shown = chronicled("timeline", "kid", "--data", told.data).stdout.splitlines()
    assert [line.split("\t")[1:3] for line in shown] == [
        ["parent", "job.submitted"],
        ["self", "job.submitted"],
        ["self", "job.queued"],
        ["self", "job.started"],
        ["self", "job.failed"],
        ["alert", "alert.raised"],
    ]
    assert shown[4].endswith("\tno such table")


def test_a_trace_is_a_tree_from_the_topmost_parent(told: DaemonProcess) -> None:
    """From any job of the family the same tree, in plain lines with box characters."""
    done = chronicled("trace", "kid", "--data", told.data)
    assert done.stdout.splitlines() == [
        "top  submitted  etl load  2026-02-04 10:00:00",
        "└── kid  failed  step  2026-02-04 10:00:02  30s",
        "    └── alert/kid-fell  open  2026-02-04 10:00:33",
    ]
    assert "1 more have the same correlation" in done.stderr
    assert chronicled("trace", "top", "--data", told.data).stdout == done.stdout
    traced = document("trace", "kid", "--data", told.data)
    assert traced["entities"][0]["stream"] == "job/top"


def test_a_correlation_can_be_traced(told: DaemonProcess) -> None:
    """What is no job is the name of a run; what is neither is one error."""
    shown = chronicled("trace", "run-1", "--data", told.data).stdout.splitlines()
    assert [line.split("  ")[0] for line in shown if line[0] != " "] == [
        "top", "└── kid", "other",
    ]  # fmt: skip
    done = chronicled("trace", "nobody", "--data", told.data, code=1)
    assert "neither a job nor a correlation 'nobody'" in done.stderr
    assert "alert/nobody" in chronicled("trace", "alert/nobody", "--data", told.data, code=1).stderr


def test_every_step_is_printed_without_a_terminal(told: DaemonProcess) -> None:
    """One line a changed field; an event that changed nothing says so, and why."""
    shown = chronicled("replay", "step", "job/kid", "--data", told.data).stdout.splitlines()
    assert "2\t2026-02-04T10:00:02Z\tjob.started\t/status\tsubmitted\trunning" in shown
    assert "2\t2026-02-04T10:00:02Z\tjob.started\t/worker\t-\tw\\x1b[2J" in shown
    assert shown[-1] == "4\t2026-02-04T10:00:01Z\tjob.queued\tchanged nothing: late\t-\t-"
    with told.client() as client:
        wanted = client.get("/api/steps?stream=job/kid").json()["items"]
    assert documents("replay", "step", "kid", "--data", told.data) == wanted


def test_all_of_it_works_on_files_at_rest(told: DaemonProcess) -> None:
    """Where no daemon runs, the same is answered from the directory."""
    asked = [
        ("diff", "job/kid"),
        ("diff", "--jobs"),
        ("timeline", "kid"),
        ("trace", "kid"),
        ("replay", "step", "job/kid"),
    ]
    before = [chronicled(*each, "--data", told.data).stdout for each in asked]
    told.stop()
    done = [chronicled(*each, "--data", told.data) for each in asked]
    assert [each.stdout for each in done] == before
    assert all("reading the files themselves" in each.stderr for each in done)


class Terminal:
    """A command on a pseudo-terminal: what it shows is read, keys are sent to it."""

    def __init__(self, *arguments: str | Path) -> None:
        self._end, inside = pty.openpty()
        termios.tcsetwinsize(inside, (50, 100))
        self._process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            env=environment(NO_COLOR="1", TERM="xterm"),
            stdin=inside,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)
        self._rest = ""
        """What was shown after what was waited for."""

    def until(self, text: str) -> str:
        """Read until a text was shown, and return what was; the end of the command is a failure."""
        shown = self._rest
        while text not in shown:
            try:
                shown += os.read(self._end, 65536).decode()
            except OSError:
                raise AssertionError(f"{text!r} not in {shown!r}") from None
            shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
        self._rest = shown.partition(text)[2]
        return shown

    def press(self, keys: str) -> None:
        """Press keys; what was shown before is no answer to them."""
        self._rest = ""
        os.write(self._end, keys.encode())

    def end(self) -> int:
        """Wait for the end of the command, and return its exit code."""
        with contextlib.suppress(OSError):
            while os.read(self._end, 65536):
                pass
        return self._process.wait(60)

    def close(self) -> None:
        """End the command, if it has not ended."""
        self._process.kill()
        self._process.wait()
        os.close(self._end)


@pytest.fixture
def terminals() -> Iterator[Callable[..., Terminal]]:
    """Return a maker of terminals with a command on each; all are ended after."""
    with contextlib.ExitStack() as stack:

        def make(*arguments: str | Path) -> Terminal:
            terminal = Terminal(*arguments)
            stack.callback(terminal.close)
            return terminal

        yield make


def test_steps_are_gone_through_by_keys(
    told: DaemonProcess, terminals: Callable[..., Terminal]
) -> None:
    """Forwards, backwards, to a number, to both ends; changed fields are marked."""
    terminal = terminals("replay", "step", "job/kid", "--data", told.data)
    assert "1  job.submitted" in terminal.until("q: quit")
    terminal.press("\n")
    shown = terminal.until("* worker")
    assert "2  job.started" in shown
    assert "/status  submitted -> running" in shown
    terminal.press("\x1b[C")
    terminal.until("3  job.failed")
    terminal.until("* error")
    terminal.press("n")
    terminal.until("changed nothing: late")
    terminal.press("n")
    terminal.until("There is no event 5: it is after the last.")
    terminal.press("b")
    terminal.until("3  job.failed")
    terminal.press("\x1b[D")
    terminal.until("2  job.started")
    terminal.press("g1\n")
    terminal.until("1  job.submitted")
    terminal.press("p")
    terminal.until("There is no event 0: it is before the first.")
    terminal.press("xg4\n")
    terminal.until("4  job.queued")
    terminal.press("q")
    assert terminal.end() == 0


def test_what_comes_while_one_looks_can_be_stepped_to(
    told: DaemonProcess, terminals: Callable[..., Terminal]
) -> None:
    """After the last step there is a next one as soon as it is recorded."""
    terminal = terminals("replay", "step", "alert/kid-fell", "--data", told.data)
    terminal.until("q: quit")
    terminal.press("n")
    terminal.until("after the last")
    more = event(8, type="alert.resolved", subject="kid-fell", data={"by": "mara"}, **at(40))
    chronicled("append", "--data", told.data, text=json.dumps(more) + "\n")
    terminal.press("n")
    terminal.until("/resolved_by  - -> mara")
    terminal.press("\x04")
    assert terminal.end() == 0


def test_a_trace_is_coloured_on_a_terminal(
    told: DaemonProcess, terminals: Callable[..., Terminal]
) -> None:
    """The tree on a terminal has the same lines."""
    terminal = terminals("trace", "kid", "--data", told.data)
    shown: Any = terminal.until("kid-fell")
    assert "└── kid  failed" in shown
    assert terminal.end() == 0
