"""What a command does while the daemon it asks cannot answer yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api.api_server import ApiServer, event

from daemon.cli import connection
from daemon.cli.connection import Connection, shown_url
from daemon.cli.failures import CommandError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    """Return a server with one job, whose views are built when the test says so."""
    with ApiServer(tmp_path, projecting=False) as server:
        server.post(event("job.submitted", "a"))
        yield server


@pytest.fixture
def link(server: ApiServer) -> Iterator[Connection]:
    """Return a command's connection to the server."""
    with Connection(url=server.url) as link:
        yield link


def test_views_that_are_being_built_are_waited_for(
    server: ApiServer, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks right after the start of a daemon gets the answer, not "try again"."""
    waits: list[float] = []

    def build(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            server.runner.catch_up()

    monkeypatch.setattr(connection, "_pause", build)
    assert [job["id"] for job in link.get("/api/jobs")["items"]] == ["a"]
    assert waits == [connection.POLL_SECONDS] * 2


def test_views_that_are_built_meanwhile_are_asked_again(
    server: ApiServer, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be live between the refusal and the question whether they are being built."""
    still_building = link._builds_views

    def build_first() -> bool:
        server.runner.catch_up()
        return still_building()

    monkeypatch.setattr(link, "_builds_views", build_first)
    assert link.get("/api/jobs/a")["id"] == "a"


def test_a_long_build_is_not_waited_for(link: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the command says what is going on, in words of a command line."""
    monkeypatch.setattr(connection, "BUILD_WAIT_SECONDS", 0.0)
    with pytest.raises(CommandError, match="is being built") as refused:
        link.get("/api/jobs")
    assert refused.value.code == "not_ready"
    assert "Retry-After" not in refused.value.hint
    assert "ask again later" in refused.value.hint


def test_what_is_not_ready_for_another_reason_is_not_waited_for(
    server: ApiServer, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views that are behind have had their time; a pause would help nobody."""
    server.runner.catch_up()
    server.post(event("job.submitted", "b"))
    monkeypatch.setattr(connection, "_pause", lambda _: pytest.fail("it waits"))
    with pytest.raises(CommandError, match="have not reached position 2"):
        link.get("/api/jobs", {"wait_for": 2, "timeout": 0.01})


def test_of_a_url_without_a_scheme_nothing_is_shown() -> None:
    """Nobody knows which of it is a password."""
    assert shown_url("user:secret@localhost:1") == "the URL"
    assert shown_url("http://user:secret@localhost:1/a?b=c") == "http://localhost:1/a"
