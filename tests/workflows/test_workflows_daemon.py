"""A real daemon with workflow files: what it loads, keeps over a kill, and finds overdue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon_process import DaemonProcess
from waiting import wait_until

GOOD = '[[phase]]\ntask = "load"\nrule = "cron=@daily"\ntemplate = "?day={yyyy}"\n'


def events(daemon: DaemonProcess, type_: str) -> list[dict[str, Any]]:
    """Return the events of a type."""
    with daemon.client() as client:
        found: list[dict[str, Any]] = client.get("/api/events", params={"type": type_}).json()[
            "items"
        ]
        return found


def test_daemon_loads_changes_and_restarts_without_doubles(
    daemons: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """Files are in the log after the start, a change follows, and a kill repeats nothing."""
    root = tmp_path / "workflows"
    root.mkdir()
    (root / "a.toml").write_text(GOOD)
    settings = {
        "CHRONICLED_WORKFLOWS__PATH": str(root),
        "CHRONICLED_WORKFLOWS__REFRESH_SECONDS": "0.1",
    }
    daemon = daemons(environment=settings).start()
    wait_until(lambda: len(events(daemon, "workflow.loaded")) == 1, "the file is loaded")
    (root / "a.toml").write_text(GOOD.replace("daily", "hourly"))
    wait_until(lambda: len(events(daemon, "workflow.loaded")) == 2, "the change is loaded")
    daemon.kill()
    again = daemons(environment=settings).start()
    (root / "b.toml").write_text(GOOD)
    wait_until(lambda: len(events(again, "workflow.loaded")) == 3, "the new file is loaded")
    assert [event["subject"] for event in events(again, "workflow.loaded")] == [
        "a.toml", "a.toml", "b.toml",
    ]  # fmt: skip
    again.stop()


def test_daemon_raises_and_resolves_overdue_alerts(
    daemons: Callable[..., DaemonProcess],
) -> None:
    """A job over its limit gets an alert, which is resolved when it ends."""
    settings = {
        "CHRONICLED_WORKFLOWS__OVERDUE": "off",
        "CHRONICLED_WORKFLOWS__OVERDUE_FOR": '{"load": "1s"}',
    }
    daemon = daemons(environment=settings).start()
    event = {"specversion": "1.0", "source": "/test", "subject": "j1"}
    with daemon.client() as client:

        def post(type_: str, data: dict[str, Any]) -> None:
            answer = client.post(
                "/api/events", json=event | {"id": type_, "type": type_, "data": data}
            )
            assert answer.status_code == 201, answer.text

        post("job.submitted", {"kind": "load"})
        wait_until(lambda: events(daemon, "alert.raised"), "the alert is raised")
        post("job.succeeded", {})
        wait_until(lambda: events(daemon, "alert.resolved"), "the alert is resolved")
    assert len(events(daemon, "alert.raised")) == 1
    daemon.stop()


def test_daemon_says_how_far_workflows_are_followed(
    daemons: Callable[..., DaemonProcess],
) -> None:
    """The place reaches what was told, in the answer of readiness and in the metrics."""
    daemon = daemons().start()
    event = {"specversion": "1.0", "source": "/test", "subject": "j1", "id": "1"}
    with daemon.client() as client:
        answer = client.post("/api/events", json=event | {"type": "job.submitted", "data": {}})
        told = answer.json()["as_of"]

        def followed() -> dict[str, Any] | None:
            workflows: dict[str, Any] = client.get("/readyz").json()["workflows"]
            return workflows if workflows["position"] >= told else None

        said = wait_until(followed, "workflows are followed up to the event")
        metrics = client.get("/metrics").text.splitlines()
        assert f"chronicled_workflows_position {float(said['position'])}" in metrics
        assert "chronicled_workflows_waits_for_views 0.0" in metrics
    daemon.stop()
