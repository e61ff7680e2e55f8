"""A rebuild beside intake and readers: nothing fails or mixes, and a crash changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
from daemon_process import DaemonProcess
from waiting import wait_until

COUNT = 6_000
LINES = {"content-type": "application/x-ndjson"}


def append(client: httpx.Client, first: int, last: int) -> int:
    """Append two events for each number, and return the head after them."""
    events = (
        {
            "specversion": "1.0", "id": f"{kind}-{n}", "source": "/tests", "type": f"job.{kind}",
            "subject": f"j{n}", "data": {"name": f"word {n}"} if kind == "submitted" else {},
        }
        for n in range(first, last)
        for kind in ("submitted", "started")
    )  # fmt: skip
    answer = client.post("/api/events", content=b"\n".join(map(orjson.dumps, events)),
                         headers=LINES)  # fmt: skip
    assert answer.status_code == 201, answer.text
    return int(answer.json()["as_of"])


def projections(client: httpx.Client) -> list[dict[str, Any]]:
    """Return how the projections stand."""
    found: list[dict[str, Any]] = client.get("/readyz").json()["projections"]
    return found


def in_the_middle(client: httpx.Client) -> bool:
    """Whether builds are on their way, and none is there yet."""
    each = projections(client)
    built = [status["built"] for status in each if status["built"]]
    return bool(built) and all(status["state"] == "rebuilding" for status in each)


@contextmanager
def asking(daemon: DaemonProcess) -> Iterator[list[str]]:
    """Ask for lists all the while; what is wrong with an answer is noted."""
    wrong: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        seen = 0
        with daemon.client() as client:
            while not ended.is_set():
                answer = client.get("/api/jobs", params={"limit": 20, "q": "word"})
                summary = client.get("/api/summary")
                if (answer.status_code, summary.status_code) != (200, 200):
                    wrong.append(answer.text + summary.text)
                    continue
                document = answer.json()
                # A job is submitted and started in one batch: at any one position of these
                # answers no job of the summary can be without its status.
                total = summary.json()["jobs"]
                if total["total"] != sum(total["by_status"].values()):
                    wrong.append(f"{total} is of two positions")
                if document["as_of"] < seen:
                    wrong.append(f"as of {document['as_of']} after {seen}")
                seen = document["as_of"]

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        ended.set()
        thread.join()


def test_a_rebuild_goes_on_after_a_crash_and_no_read_fails(
    daemons: Callable[..., DaemonProcess],
) -> None:
    """Killed in the middle, the old tables serve at the next start, and the rebuild is finished."""
    daemon = daemons(environment={"CHRONICLED_VIEWS__BATCH_EVENTS": "20"}).start()
    with daemon.client(unix=True) as client:
        head = append(client, 0, COUNT // 2)
        params = {"wait_for": head, "limit": 1, "timeout": 30}
        assert client.get("/api/jobs", params=params).status_code == 200
        with asking(daemon) as wrong:
            started = client.post("/api/operations", json={"kind": "rebuild"})
            assert started.status_code == 202
            head = append(client, COUNT, COUNT + 100)
            assert "rebuilding" in daemon.wait_notified("STATUS=ready; rebuilding")
            wait_until(lambda: in_the_middle(client), "the rebuild is on its way")
            assert "chronicled_projection_build_position{" in client.get("/metrics").text
        assert wrong == []
    daemon.kill()
    daemon.start()
    with daemon.client(unix=True) as client, asking(daemon) as wrong:
        assert client.get("/api/jobs").status_code == 200
        assert any(status["state"] == "rebuilding" for status in projections(client))
        head = append(client, COUNT + 100, COUNT + 200)
        wait_until(
            lambda: all(
                status["state"] == "live" and status["position"] == head
                for status in projections(client)
            ),
            "the rebuild is finished",
        )
        verified = client.post("/api/operations", json={"kind": "verify"}).json()
        place = f"/api/operations/{verified['id']}"
        wait_until(lambda: client.get(place).json()["state"] != "running", "it is verified")
        assert client.get(place).json()["result"]["ok"], client.get(place).text
    assert wrong == []
