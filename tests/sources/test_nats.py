"""A JetStream subject of a real server: every message once, whatever goes away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess
from nats_server import LOGIN, STREAM, SUBJECT, NatsServer
from source_driving import Run, line
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.sources.board import SourceState
from daemon.sources.nats import NatsSource
from domain.errors import DiskFull

pytestmark = pytest.mark.needs("nats-server")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Return a server that does not run yet."""
    directory = tmp_path / "nats"
    directory.mkdir()
    server = NatsServer(directory)
    yield server
    server.stop()


def subscribe(log: EventLog, server: NatsServer) -> Run:
    """Return a source on the server's stream."""
    return Run(
        log,
        NatsSource,
        kind="nats",
        url=server.url,
        stream=STREAM,
        subject=SUBJECT,
        credentials=str(server.credentials),
    )


def test_messages_wait_while_the_disk_has_too_little_room(
    log: EventLog, server: NatsServer
) -> None:
    """They are not acknowledged, so that they come again and are recorded once there is room."""
    server.start().make_stream()
    run = subscribe(log, server)
    with closing(run.source):
        server.publish([line(1)])
        run.until_numbers([1])
        run.gate.reason = "too little room"
        server.publish([line(2)])
        run.until(lambda: "too little room" in run.status.detail, "the source says why")
        assert run.numbers() == [1]
        run.gate.reason = None
        run.until(lambda: run.numbers() == [1, 2], "it is recorded")


def test_messages_are_acknowledged_after_they_are_recorded(
    log: EventLog, server: NatsServer
) -> None:
    """What is published is recorded; what cannot be read is put aside and does not come again."""
    server.start().make_stream()
    server.publish([line(1), b"nonsense", line(2) + line(3)])
    run = subscribe(log, server)
    with closing(run.source):
        run.until_numbers([1, 2, 3])
        assert (run.status.messages, run.status.dead_letters) == (3, 1)
        assert server.unacknowledged("s") == 0
        server.publish([line(1), line(4)])
        run.until(lambda: run.numbers() == [1, 2, 3, 4], "the new one")
        assert (run.status.duplicates, run.status.state) == (1, SourceState.RUNNING)


def test_a_server_that_is_not_there_is_waited_for(log: EventLog, server: NatsServer) -> None:
    """At the start and later: the source says so, without its secret, and comes back."""
    run = subscribe(log, server)
    with closing(run.source):
        run.step()
        assert run.status.state is SourceState.FAILING
        server.start()
        run.until(lambda: "stream" in run.status.detail, "the stream is missed")
        server.make_stream()
        server.publish([line(1)])
        run.until(lambda: run.numbers() == [1], "read")
        server.stop()
        run.until(lambda: run.status.state is SourceState.FAILING, "it notices")
        server.start().publish([line(2)])
        run.until(lambda: run.numbers() == [1, 2], "read after the restart")
        assert LOGIN.partition(":")[2] not in repr(run.status)


def test_what_the_log_refuses_comes_again(
    log: EventLog, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is waited out: nothing is acknowledged meanwhile."""
    server.start().make_stream()
    server.publish([line(1), line(2)])
    run = subscribe(log, server)
    real = log.submit

    def refuse(_request: Any, answer: Any) -> None:
        answer(DiskFull("no room"))

    monkeypatch.setattr(log, "submit", refuse)
    with closing(run.source):
        run.until(lambda: run.status.last_error == "no room", "it is refused")
        assert server.unacknowledged("s") == 2
        monkeypatch.setattr(log, "submit", real)
        run.until(lambda: sorted(run.numbers()) == [1, 2], "read")


def test_every_message_once_beside_kills(
    tmp_path: Path, server: NatsServer, daemons: Callable[..., DaemonProcess]
) -> None:
    """The daemon is killed under load twice, and the server restarted: each message is there."""
    config = tmp_path / "chronicled.toml"
    config.write_text(
        f'[[sources]]\nname = "tasks"\nkind = "nats"\nurl = "{server.url}"\n'
        f'stream = "{STREAM}"\nsubject = "{SUBJECT}"\ncredentials = "{server.credentials}"\n'
    )
    server.start().make_stream()
    server.publish(line(number) for number in range(2000))
    daemon = daemons(arguments=["--config", str(config)])
    for goal, numbers in ((300, range(2000, 3000)), (600, range(3000, 4000))):
        daemon.start()
        _reached(daemon, goal)
        daemon.kill()
        server.publish(map(line, numbers))
    daemon.start()
    server.stop()
    server.start()
    _reached(daemon, 4000)
    with daemon.client() as client:
        wait_until(lambda: server.unacknowledged("tasks") == 0, "acknowledged", seconds=60)
        events: Counter[str] = Counter()
        after = 0
        while page := client.get("/api/events", params={"limit": 1000, "after": after}).json()[
            "items"
        ]:
            events.update(event["id"] for event in page)
            after = page[-1]["position"]
    assert events == Counter(f"e{number}" for number in range(4000))
    assert daemon.stop() == 0
    assert LOGIN.partition(":")[2] not in daemon.stderr()


def _reached(daemon: DaemonProcess, count: int) -> None:
    params = {"limit": 1, "order": "desc"}
    with daemon.client() as client:
        wait_until(
            lambda: client.get("/api/events", params=params).json()["as_of"] >= count,
            f"{count} are recorded",
            seconds=60,
        )
