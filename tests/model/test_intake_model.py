"""A running daemon against a model of its log: whatever clients send, the answers are the model's.

One daemon serves all examples: each goes on where the log stands, with subjects of its own. The
long form: ``CHRONICLED_MODEL_EXAMPLES=2000 make test ARGS=tests/model``.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import hypothesis.strategies as st
import pytest
from daemon_process import DaemonProcess
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import HypothesisException
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from log_model import LogModel, Receipt, Recorded, Refusal, Sent
from sent_events import (
    MODES,
    SINGLE,
    SUBJECTS,
    as_header_texts,
    bad_batches,
    bad_events,
    good_batches,
    good_events,
    lines_of,
    request_of,
)
from sse_client import Received, received

from daemon.eventlog.log import EventLog

LONG: Final = "CHRONICLED_MODEL_EXAMPLES"
EXAMPLES: Final = int(os.environ.get(LONG, "20"))
STEPS: Final = 25
PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
"""The last one, which makes a failure short, would take longer than the short form may."""
BATCH_MAX: Final = 8
PAGE: Final = 5
"""So few events come at once where all are looked at: it turns pages."""
KILLS: Final = st.sampled_from([0, 0, 0, 1])
"""How often a daemon may be killed in one example: each start takes most of a second."""
SETTINGS: Final = {
    "CHRONICLED_SERVER__BATCH_EVENTS": str(BATCH_MAX),
    # Nothing but what is sent comes into the log.
    "CHRONICLED_WORKFLOWS__OVERDUE": "off",
    "CHRONICLED_SIZE__DISK_WARN_BYTES": "0",
}

SILENCES_MAX: Final = 3
"""How often a stream may be silent for 15 seconds while something has to come."""
LAST: Final = {
    "specversion": "1.0",
    "source": "/last",
    "type": "job.submitted",
    "subject": "last",
    "time": "2026-02-04T11:00:00Z",
    "data": {},
}
"""What ends the reading of a stream: every filter lets it pass."""

_examples = itertools.count()


class Running:
    """A running daemon, which is there for all examples as long as none fails."""

    def __init__(self, folder: Path) -> None:
        """Start it below ``folder``."""
        self._folder = folder
        self._logs = itertools.count()
        self.daemon = self._started()

    def _started(self) -> DaemonProcess:
        data = self._folder / f"data{next(self._logs)}"
        daemon = DaemonProcess(data, environment=SETTINGS)
        try:
            return daemon.start()
        except BaseException:
            daemon.close()
            raise

    def renew(self) -> None:
        """Begin with an empty log: what an example left that failed must not spoil the next."""
        self.daemon.close()
        self.daemon = self._started()


class Intake(RuleBasedStateMachine):
    """Clients that append, in every way, and read; the daemon may be killed at any moment."""

    def __init__(self, running: Running) -> None:
        """Go on with the log of a running daemon."""
        super().__init__()
        self.running = running
        self.client = running.daemon.client()
        self.kills = 0

    @initialize(kills=KILLS)
    def begin(self, kills: int) -> None:
        """Begin where the log stands."""
        self.kills = kills
        self.name = f"example-{next(_examples)}"
        self.model = LogModel(base=self.head(), batch_max=BATCH_MAX)

    def teardown(self) -> None:
        """Close the connection."""
        self.client.close()
        failure = sys.exc_info()[1]
        if isinstance(failure, Exception) and not isinstance(failure, HypothesisException):
            self.running.renew()

    # -- appending -----------------------------------------------------------------------------

    @rule(event=good_events(), mode=st.sampled_from(SINGLE))
    def append_one(self, event: Sent, mode: str) -> None:
        """Append one event."""
        self.append([as_header_texts(event) if mode == "binary" else event], mode)

    @rule(batch=good_batches(), mode=st.sampled_from(["batch", "array", "lines"]))
    def append_batch(self, batch: list[Sent], mode: str) -> None:
        """Append several, all or nothing: one that expects another version spoils them all."""
        self.append(batch, mode)

    @rule(batch=bad_batches(), mode=st.sampled_from(["batch", "array", "lines"]))
    def append_bad_batch(self, batch: list[Sent], mode: str) -> None:
        """Append several of which one at least is refused."""
        self.append(batch, mode)

    @rule(event=bad_events(), mode=st.sampled_from(["structured", "json"]))
    def append_bad_one(self, event: Sent, mode: str) -> None:
        """Append one that is refused; its fault has no index."""
        self.append([event], mode)

    @rule(event=good_events())
    def append_too_many(self, event: Sent) -> None:
        """Append more than a request may hold."""
        self.append([event] * (BATCH_MAX + 1), "batch")

    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        """Repeat what is there, perhaps with another payload or a version that is over."""
        if not self.model.events:
            return
        picked = st.sampled_from(self.model.events).map(lambda each: Sent(each.event))
        changed = st.fixed_dictionaries(
            {}, optional={"data": st.just({}), "expectedversion": st.just(0)}
        )
        batch = data.draw(st.lists(st.tuples(picked, changed), min_size=1, max_size=3))
        # The subjects have the name of the example already.
        self.post([Sent({**sent.event, **more}) for sent, more in batch], "array")

    @rule(event=good_events(), mode=st.sampled_from([m for m in MODES if m != "binary"]))
    def send_what_is_no_json(self, event: Sent, mode: str) -> None:
        """Send a body that is cut off, or whose type says something else."""
        body, headers = request_of(mode, [event])
        cut = self.client.post("/api/events", content=body[:-2], headers=headers)
        assert (cut.status_code, cut.json()["code"]) == (400, "undecodable")
        headers["content-type"] = "text/plain"
        other = self.client.post("/api/events", content=body, headers=headers)
        assert (other.status_code, other.json()["code"]) == (415, "unsupported_media_type")

    @rule(
        batch=st.lists(good_events() | bad_events() | st.none(), min_size=1, max_size=5),
        follow=st.sampled_from(["p", "q"]),
        end=st.integers(1, 9),
    )
    def append_lines(self, batch: list[Sent | None], follow: str, end: int) -> None:
        """Send a stretch of a followed file: what cannot be taken becomes a dead letter."""
        lines = lines_of([sent and self.named(sent) for sent in batch], self.name)
        name = f"{self.name}/{follow}"
        answer = self.client.post(
            "/api/intake/cloudevents",
            params={"on_error": "deadletter", "follow": name, "start": 0, "end": end},
            content="".join(f"{line}\n" for line in lines).encode(),
            headers={"content-type": "application/x-ndjson"},
        )
        receipts, aside = self.model.append_lines(lines, name, end)
        self.check_receipts(answer, receipts)
        assert answer.json()["dead_letters"] == aside
        found = self.client.get("/api/intake/offsets", params={"follow": name}).json()
        assert found["offset"] == self.model.offsets[name]

    @precondition(lambda self: self.kills and self.model.events)
    @rule(batch=good_batches(), answered=st.booleans())
    def kill(self, batch: list[Sent], answered: bool) -> None:
        """Kill the daemon, perhaps while it has a request that it has not answered."""
        self.kills -= 1
        sent = [self.named(each) for each in batch]
        if not answered:
            self.send_and_leave(*request_of("batch", sent))
        self.client.close()
        self.running.daemon.kill()
        self.running.daemon.start()
        self.client = self.running.daemon.client()
        if not answered and self.head() != self.model.head:
            # It was recorded, and whole: what the model makes of it is compared below.
            self.model.append(sent)
        self.post(sent, "batch")

    def send_and_leave(self, body: bytes, headers: dict[str, str]) -> None:
        """Send a request, and read no answer."""
        url = httpx.URL(self.running.daemon.url)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"POST /api/events HTTP/1.1\r\nhost: {url.host}\r\n{''.join(lines)}"
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    # -- reading -------------------------------------------------------------------------------

    @rule(
        limit=st.integers(1, 3),
        order=st.sampled_from(["asc", "desc"]),
        by=st.sampled_from(["", "stream", "type", "source", "correlation"]),
        subject=st.sampled_from(SUBJECTS),
        meanwhile=st.integers(0, 4),
    )
    def walk(self, limit: int, order: str, by: str, subject: str, meanwhile: int) -> None:
        """Go through three pages at least, with one filter or none, perhaps while more comes."""
        wanted, keep = self.filter(by, subject)
        self.grow(2 * limit + 1, subject)
        params = {**wanted, "limit": limit, "order": order, "after": self.model.base}
        there, turned = len(self.model.events), 0
        found: list[Any] = []
        for page in self.pages("/api/events", params):
            found += page["items"]
            if not turned:
                self.grow(meanwhile, subject)
            turned += bool(page["next"])
        assert turned >= 2
        # What came meanwhile is before the first page of a list that begins with the newest.
        walked = self.model.events[: None if order == "asc" else there]
        expected = [each for each in walked if keep(each)]
        self.check_events(found, expected if order == "asc" else expected[::-1])

    @rule(subject=st.sampled_from(SUBJECTS))
    def look_at_a_job(self, subject: str) -> None:
        """Wait for a job, which then shows what the log has of it."""
        id_ = f"{self.name}/{subject}"
        waiting = {"wait_for": self.model.head, "timeout": 30}
        answer = self.client.get(f"/api/jobs/{quote(id_, safe='')}", params=waiting)
        events = self.model.stream(f"job/{id_}")
        assert answer.status_code == (200 if events else 404), answer.text
        if events:
            job = answer.json()
            assert (job["id"], job["events"]) == (id_, len(events))
            assert job["last_position"] == events[-1].position

    @rule(
        back=st.integers(0, 12),
        batch=good_batches(),
        last_id=st.booleans(),
        by=st.sampled_from(["", "type"]),
    )
    def follow(self, back: int, batch: list[Sent], last_id: bool, by: str) -> None:
        """Follow the stream from a position, while more is appended: no gap, no double."""
        after = max(self.model.base, self.model.head - back)
        wanted, keep = self.filter(by, "")
        headers = {"last-event-id": str(after)} if last_id else {}
        params = wanted | ({} if last_id else {"after": str(after)})
        with self.client.stream("GET", "/api/events/stream", params=params, headers=headers) as s:
            assert s.status_code == 200
            self.append(batch, "batch")
            self.append([Sent(LAST | {"id": f"last-{self.model.head}"})], "json")
            expected = [each for each in self.model.events if each.position > after and keep(each)]
            found = self.streamed(s, len(expected))
        assert [each.id for each in found] == [str(each.position) for each in expected]
        assert [each.kind for each in found] == [each.event["type"] for each in expected]
        self.check_events([json.loads(each.data) for each in found], expected)

    def streamed(self, response: httpx.Response, count: int) -> list[Received]:
        """Return the next events of a stream; a comment says that it was silent for long."""
        found: list[Received] = []
        silences = 0
        for each in received(response, comments=True):
            silences += bool(each.comment)
            assert silences < SILENCES_MAX, f"{len(found)} of {count} events were sent"
            if not each.comment:
                found.append(each)
            if len(found) == count:
                break
        return found

    @rule(beyond=st.integers(1, 2**40))
    def ask_beyond_the_head(self, beyond: int) -> None:
        """Name a position that the log has not, wherever one may stand."""
        position = str(self.model.head + beyond)
        for path, name in (
            ("/api/events", "after"),
            ("/api/events/stream", "after"),
            ("/api/jobs", "wait_for"),
        ):
            answer = self.client.get(path, params={name: position})
            assert (answer.status_code, answer.json()["code"]) == (409, "beyond_head")

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def the_log_is_the_model(self) -> None:
        """Find what was acknowledged once, in order, unchanged; what was refused is not there."""
        params = {"after": self.model.base, "limit": PAGE}
        found = [each for page in self.pages("/api/events", params) for each in page["items"]]
        self.check_events(found, self.model.events)

    @invariant()
    def the_letters_are_those_of_the_model(self) -> None:
        """Find what was put aside, with how often it came."""
        found: dict[str, int] = {}
        for follow in self.model.offsets:
            params = {"origin": follow, "limit": 2}
            for page in self.pages("/api/deadletters", params):
                for letter in page["items"]:
                    found[letter["raw"]] = found.get(letter["raw"], 0) + letter["count"]
        assert found == self.model.letters

    # -- how it is asked and compared ----------------------------------------------------------

    def head(self) -> int:
        """Return the newest position."""
        return int(self.client.get("/api/events", params={"limit": 1}).json()["as_of"])

    def pages(self, path: str, params: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the pages of a list up to the last one, each after the cursor of the one before."""
        cursors: dict[str, str] = {}
        while True:
            answer = self.client.get(path, params={**params, **cursors})
            page = answer.json()
            assert page["as_of"] == self.model.head
            assert len(page["items"]) <= params["limit"]
            assert ('rel="next"' in answer.headers.get("link", "")) == bool(page["next"])
            yield page
            if not page["next"]:
                return
            assert page["next"] != cursors.get("cursor"), "the pages do not go on"
            cursors["cursor"] = page["next"]

    def named(self, sent: Sent) -> Sent:
        """Return an event whose subject is one of this example."""
        return replace(
            sent, event={**sent.event, "subject": f"{self.name}/{sent.event['subject']}"}
        )

    def append(self, batch: Sequence[Sent], mode: str) -> None:
        """Append events of this example."""
        self.post([self.named(each) for each in batch], mode)

    def grow(self, count: int, subject: str) -> None:
        """Append so many new events, which every filter lets pass."""
        passing = LAST | {"source": "/a", "correlationid": "run", "subject": subject}
        ids = [f"more-{self.model.head}-{number}" for number in range(count)]
        if ids:
            self.append([Sent(passing | {"id": id_}) for id_ in ids], "batch")

    def post(self, batch: Sequence[Sent], mode: str) -> None:
        """Append events, and compare what is answered with what the model says."""
        body, headers = request_of(mode, batch)
        answer = self.client.post("/api/events", content=body, headers=headers)
        expected = self.model.append(batch)
        if isinstance(expected, Refusal):
            document = answer.json()
            assert (answer.status_code, document["code"]) == (expected.status, expected.code)
            if expected.faults:
                told = {(e.get("index", 0), e["pointer"], e["code"]) for e in document["errors"]}
                assert told == expected.faults
        else:
            self.check_receipts(answer, expected)

    def check_receipts(self, answer: httpx.Response, expected: list[Receipt]) -> None:
        """Compare an acknowledgement with the model's."""
        new = any(not receipt["duplicate"] for receipt in expected)
        assert answer.status_code == (201 if new else 200), answer.text
        document = answer.json()
        assert document["events"] == expected
        assert document["as_of"] == self.model.head

    def filter(self, by: str, subject: str) -> tuple[dict[str, str], Callable[[Recorded], bool]]:
        """Return the parameters of a filter, and whether an event passes it."""
        if by == "stream":
            stream = f"job/{self.name}/{subject}"
            return {"stream": stream}, lambda each: each.stream == stream
        if by == "":
            return {}, lambda _: True
        attribute = "correlationid" if by == "correlation" else by
        value = {"type": "job.submitted", "source": "/a", "correlation": "run"}[by]
        return {by: value}, lambda each: each.event.get(attribute) == value

    def check_events(self, found: list[Any], expected: list[Recorded]) -> None:
        """Compare events with those of the model: all that was sent, and its place."""
        assert [each["position"] for each in found] == [each.position for each in expected]
        for document, recorded in zip(found, expected, strict=True):
            place = {"position": recorded.position, "version": recorded.version}
            del document["recordedtime"]
            assert document == {**recorded.event, **place, "datacontenttype": "application/json"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a running daemon."""
    running = Running(tmp_path_factory.mktemp("model"))
    yield running
    running.daemon.close()


@pytest.mark.timeout(0 if LONG in os.environ else 300)
def test_the_intake_does_what_the_model_says(running: Running) -> None:
    """Receipts, refusals, pages, streams and dead letters are the model's, over kills too."""
    run_state_machine_as_test(
        lambda: Intake(running),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            report_multiple_bugs=False,
            phases=PHASES if LONG in os.environ else PHASES[:-1],
            derandomize=LONG not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert running.daemon.stop() == 0
    log = EventLog.open(running.daemon.data / "log.db")
    assert log.verify() == []
    log.close()
