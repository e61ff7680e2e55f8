"""``chronicled append``: every line exactly once, whatever happens to the daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import PROGRAM, chronicled, documents, environment, event, lines, start
from daemon_process import DaemonProcess
from proxies import BadWay
from waiting import wait_until

from daemon.lock import DataDirectory

Daemons = Callable[..., DaemonProcess]


def all_events(daemon: DaemonProcess) -> list[dict[str, Any]]:
    """Return every event of the log, by position."""
    found: list[dict[str, Any]] = []
    with daemon.client() as client:
        while True:
            after = found[-1]["position"] if found else 0
            page = client.get("/api/events", params={"after": after, "limit": 1000}).json()
            found += page["items"]
            if not page["next"]:
                return found


def dead_letters(daemon: DaemonProcess) -> list[dict[str, Any]]:
    """Return every dead letter."""
    with daemon.client() as client:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = client.get("/api/deadletters", params={"limit": 1000, **cursor}).json()
            found += page["items"]
            if not page["next"]:
                return found
            cursor = {"cursor": page["next"]}


def head(daemon: DaemonProcess) -> int:
    """Return the newest position of the log."""
    with daemon.client() as client:
        return int(client.get("/api/events", params={"limit": 1}).json()["as_of"])


def test_a_file_twice_adds_nothing_the_second_time(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The same events are recorded once; the command says so."""
    path = tmp_path / "events.ndjson"
    path.write_text(lines(*(event(n) for n in range(1, 301))))
    first = chronicled("append", path, "--data", daemon.data)
    assert first.stdout == "appended 300, duplicates 0, dead letters 0\n"
    second = chronicled("append", path, "--data", daemon.data)
    assert second.stdout == "appended 0, duplicates 300, dead letters 0\n"
    assert head(daemon) == 300


def test_receipts_are_one_a_line(daemon: DaemonProcess) -> None:
    """With --json each event's receipt is a line, and the totals are on stderr."""
    done = chronicled(
        "append", "--json", "--data", daemon.data, text=lines(event(1), event(2), event(1))
    )
    receipts = [json.loads(line) for line in done.stdout.splitlines()]
    assert receipts == [
        {"id": "1", "position": 1, "stream": "job/job-1", "version": 1, "duplicate": False},
        {"id": "2", "position": 2, "stream": "job/job-2", "version": 1, "duplicate": False},
        {"id": "1", "position": 1, "stream": "job/job-1", "version": 1, "duplicate": True},
    ]
    assert done.stderr == "appended 2, duplicates 1, dead letters 0\n"


def test_several_files_and_the_input_are_read_in_order(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """Files are appended as they are named; - is the standard input."""
    for number in (1, 3):
        (tmp_path / f"{number}.ndjson").write_text(lines(event(number)))
    chronicled(
        "append", tmp_path / "1.ndjson", "-", tmp_path / "3.ndjson", "--data", daemon.data,
        text=lines(event(2)).rstrip("\n"),
    )  # fmt: skip
    assert [each["id"] for each in all_events(daemon)] == ["1", "2", "3"]


def test_dead_letters_are_exactly_the_malformed_lines(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """What cannot be decoded is put aside as it was, and is in nobody's way."""
    malformed = ['{"specversion":"1.0"', "not json", '{"specversion":"1.0","id":"x"}', "[1]"]
    path = tmp_path / "mixed.ndjson"
    path.write_text("".join(f"{text}\n{lines(event(n))}" for n, text in enumerate(malformed, 1)))
    done = chronicled("append", path, "--data", daemon.data)
    assert done.stdout == "appended 4, duplicates 0, dead letters 4\n"
    found = dead_letters(daemon)
    assert [letter["raw"] for letter in found] == malformed
    assert all(str(path) in letter["origin"] for letter in found)
    assert head(daemon) == 4


def test_a_slow_pipe_is_passed_on_line_by_line(daemon: DaemonProcess) -> None:
    """A line is in the log while the pipe is still open; an unfinished one is not."""
    process = start("append", "--json", "--data", daemon.data)
    process.stdin.write(lines(event(1)) + '{"specversion"')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == "1"
    wait_until(lambda: head(daemon) == 1, "the first line is recorded")
    process.stdin.write(lines(event(2)).removeprefix('{"specversion"'))
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == "2"
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "")
    assert err == "appended 2, duplicates 0, dead letters 0\n"


def test_an_interrupt_sends_what_is_complete(daemon: DaemonProcess) -> None:
    """SIGINT ends the reading; complete lines are recorded, the totals are printed."""
    process = start("append", "--data", daemon.data)
    process.stdin.write(lines(event(1)))
    process.stdin.flush()
    wait_until(lambda: head(daemon) == 1, "the first line is recorded")
    process.stdin.write(lines(event(2)) + "unfini")
    process.stdin.flush()
    wait_until(lambda: head(daemon) == 2, "the second line is recorded")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 0
    assert out == "appended 2, duplicates 0, dead letters 0\n"
    assert err == "-: stopped within a line; its start was not sent.\n"
    assert [each["id"] for each in all_events(daemon)] == ["1", "2"]
    assert dead_letters(daemon) == []


class Producer(threading.Thread):
    """Writes lines into a pipe as fast as it is read, and closes it at the end."""

    def __init__(self, process: Any, texts: list[str]) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._texts = texts

    def run(self) -> None:
        """Write everything."""
        for text in self._texts:
            self._process.stdin.write(text)
        self._process.stdin.close()


def test_a_pipe_loses_and_doubles_nothing_when_the_daemon_is_killed(daemons: Daemons) -> None:
    """The daemon is killed twice in the middle of a stream; each line is recorded once."""
    count = 30_000
    texts = [lines(event(n)) for n in range(1, count + 1)]
    broken = [f'{{"broken":{n}' for n in range(count // 50)]
    mixed = [text + (broken[n // 50] + "\n" if n % 50 == 0 else "") for n, text in enumerate(texts)]
    daemon = daemons().start()
    process = start("append", "--data", daemon.data)
    producer = Producer(process, mixed)
    producer.start()
    for goal in (count // 5, count // 2):
        wait_until(lambda goal=goal: head(daemon) > goal, f"{goal} events are recorded")
        daemon.kill()
        daemon.start()
    producer.join()
    out = process.stdout.read()
    err = process.stderr.read()
    assert process.wait() == 0, err
    assert "Traceback" not in err
    assert "The daemon is back." in err
    found = all_events(daemon)
    assert [each["id"] for each in found] == [str(n) for n in range(1, count + 1)]
    assert [each["position"] for each in found] == list(range(1, count + 1))
    letters = dead_letters(daemon)
    assert [letter["raw"] for letter in letters] == broken
    assert {letter["count"] for letter in letters} == {1}
    assert out == f"appended {count}, duplicates 0, dead letters {len(broken)}\n"
    process.stdout.close()
    process.stderr.close()


def test_a_lost_answer_changes_neither_the_log_nor_the_totals(daemon: DaemonProcess) -> None:
    """Every third answer gets lost after the commit; its chunk is sent again and adds nothing."""
    count = 9_000
    port = int(daemon.url.rpartition(":")[2])
    texts = [lines(event(n)) + ("nonsense\n" if n % 1000 == 0 else "") for n in range(1, count + 1)]
    with BadWay(port, loses=lambda number: number % 3 == 0) as proxy:
        done = chronicled("append", "--url", proxy.url, text="".join(texts))
        assert proxy.lost >= 2
    assert done.stdout == f"appended {count}, duplicates 0, dead letters 9\n"
    assert [each["id"] for each in all_events(daemon)] == [str(n) for n in range(1, count + 1)]
    (letter,) = dead_letters(daemon)
    assert letter["count"] == 9


def test_a_full_queue_a_full_disk_and_a_slow_line_are_waited_out(daemon: DaemonProcess) -> None:
    """408, 503 and 507 mean later: the same lines are sent again, and each is recorded once."""
    port = int(daemon.url.rpartition(":")[2])
    refusals = {2: 507, 3: 503, 5: 408}
    with BadWay(port, refuses=lambda number: refusals.get(number, 0)) as way:
        done = chronicled(
            "append", "--url", way.url, text=lines(*(event(n) for n in range(1, 4001)))
        )
        assert way.refused == len(refusals)
    assert done.stdout == "appended 4000, duplicates 0, dead letters 0\n"
    assert done.stderr.count("The daemon is back.") == 2
    assert head(daemon) == 4000


def test_a_daemon_that_stops_and_moves_is_found_again(daemons: Daemons) -> None:
    """After a proper stop the daemon comes back on another port; the pipe goes on."""
    daemon = daemons().start()
    process = start("append", "--json", "--data", daemon.data)
    process.stdin.write(lines(event(1)))
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["position"] == 1
    assert daemon.stop() == 0
    process.stdin.write(lines(event(2)))
    process.stdin.flush()
    daemon.start()
    assert json.loads(process.stdout.readline())["position"] == 2
    _, err = process.communicate()
    assert process.returncode == 0
    assert err.splitlines()[-2:] == [
        "The daemon is back.",
        "appended 2, duplicates 0, dead letters 0",
    ]


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    """Append never writes by itself; it names what to do."""
    done = chronicled("append", "--data", tmp_path, text=lines(event(1)), code=1)
    assert done.stdout == ""
    assert "No daemon" in done.stderr
    assert "--wait" in done.stderr
    assert not (tmp_path / "log.db").exists()


def test_wait_waits_for_the_daemon(daemons: Daemons) -> None:
    """With --wait the command may start first."""
    daemon = daemons()
    process = start("append", "--wait", "--data", daemon.data)
    process.stdin.write(lines(event(1)))
    process.stdin.flush()
    waiting = process.stderr.readline()
    assert "Waiting" in waiting
    daemon.start()
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, "appended 1, duplicates 0, dead letters 0\n")


def test_a_stop_while_the_daemon_is_away_says_what_is_not_recorded(daemons: Daemons) -> None:
    """Giving up is a failure that names the line from which on nothing was recorded."""
    daemon = daemons().start()
    process = start("append", "--data", daemon.data)
    process.stdin.write(lines(event(1)))
    process.stdin.flush()
    wait_until(lambda: head(daemon) == 1, "the first line is recorded")
    daemon.kill()
    process.stdin.write(lines(event(2)))
    process.stdin.flush()
    assert "Waiting" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 1
    assert out == "appended 1, duplicates 0, dead letters 0\n"
    assert "nothing after line 1 was recorded" in err


def test_a_daemon_that_is_starting_is_waited_for(daemons: Daemons, tmp_path: Path) -> None:
    """Who holds the directory and takes no requests yet is not absent."""
    daemon = daemons()
    daemon.data.mkdir()
    with DataDirectory.acquire(daemon.data):
        process = start("append", "--data", daemon.data)
        process.stdin.write(lines(event(1)))
        process.stdin.flush()
        assert "not ready" in process.stderr.readline()
    daemon.start()
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, "appended 1, duplicates 0, dead letters 0\n")


def test_a_closed_input_is_an_error(daemon: DaemonProcess) -> None:
    """Without a standard input there is nothing to read, and that is said."""
    command = f"'{PROGRAM[0]}' -m daemon append --data '{daemon.data}' <&-"
    done = subprocess.run(
        ["bash", "-c", command], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Error: The input cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_format_ends_it_with_the_nearest(daemon: DaemonProcess) -> None:
    """A request that cannot succeed is not tried again."""
    done = chronicled(
        "append", "--format", "flowlord-tasks", "--data", daemon.data, text="{}\n", code=1
    )
    assert "flowlord-task" in done.stderr
    assert head(daemon) == 0


def test_a_file_that_is_not_there_is_a_usage_error(daemon: DaemonProcess, tmp_path: Path) -> None:
    """No file is read when one of them cannot be."""
    path = tmp_path / "there.ndjson"
    path.write_text(lines(event(1)))
    done = chronicled("append", path, tmp_path / "gone", "--data", daemon.data, code=2)
    # The frame around the message breaks a long path, wherever the temporary directory is.
    assert "/gone" in "".join(done.stderr.replace("│", "").split())
    assert head(daemon) == 0


def test_chunks_too_large_for_the_daemon_are_divided(daemons: Daemons) -> None:
    """A daemon with small limits gets small pieces; an oversized line is a dead letter."""
    settings = {"CHRONICLED_SERVER__BATCH_BYTES": "20000", "CHRONICLED_SERVER__BATCH_EVENTS": "7"}
    daemon = daemons(environment=settings).start()
    texts = [lines(event(n)) for n in range(1, 101)]
    texts[50] = '{"long":"' + "x" * 50_000 + '"}\n'
    done = chronicled("append", "--data", daemon.data, text="".join(texts))
    assert done.stdout == "appended 99, duplicates 0, dead letters 1\n"
    assert "too large" in done.stderr
    wanted = [str(n) for n in range(1, 101) if n != 51]
    assert [each["id"] for each in all_events(daemon)] == wanted


def test_real_messages_add_nothing_when_fed_again(daemon: DaemonProcess, real_data: Path) -> None:
    """A day of real messages, by their formats, twice: the second time adds nothing."""
    messages = real_data / "flowlord" / "messages"
    feeds = (
        ("flowlord-task", "todo.ndjson"),
        ("flowlord-task", "done.ndjson"),
        ("flowlord-file", "files.ndjson"),
        ("gcs-notification", "files.ndjson"),
    )
    totals = []
    for _ in range(2):
        for format_, name in feeds:
            options = ("--format", format_, "--data", daemon.data)
            totals += documents("append", messages / name, *options)
        if len(totals) and head(daemon) == 0:
            pytest.fail("nothing was appended")
        recorded = head(daemon)
    assert recorded == len({receipt["position"] for receipt in totals})
    half = len(totals) // 2
    assert all(receipt["duplicate"] for receipt in totals[half:])
    assert dead_letters(daemon) == []


def test_memory_stays_bounded_by_the_chunk(daemon: DaemonProcess) -> None:
    """While the daemon is away nothing more is read: the producer waits, not the memory."""
    process = start("append", "--data", daemon.data)
    process.stdin.write(lines(event(1)))
    process.stdin.flush()
    wait_until(lambda: head(daemon) == 1, "the first line is recorded")
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        producer = Producer(process, [lines(event(n)) for n in range(2, 60_000)])
        producer.start()
        producer.join(1.0)
        assert producer.is_alive(), "60,000 lines were read although nobody took them"
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    producer.join()
    out = process.stdout.read()
    assert process.wait() == 0
    assert out == "appended 59999, duplicates 0, dead letters 0\n"
    process.stdout.close()
    process.stderr.close()
