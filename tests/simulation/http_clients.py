"""Clients of the simulated daemon, at the other end of its HTTP connections."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

import httptools
from life import Life
from oracle import Broken, Oracle, Request
from results import Results

PLEASE_WAIT: Final = (503, 507)
"""What a daemon may answer while something is wrong, or much is going on."""
_BUSY: Final = ("queue_full", "not_ready")
"""What may be said for no other reason than that much is going on."""


class Wire(asyncio.Transport):
    """A connection in memory: what the client sends is received at once."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self.life = life
        self.written = bytearray()
        self.closing = False
        self.protocol = life.connect()
        life.loop.call_soon(self.protocol.connection_made, self)

    def send(self, data: bytes) -> None:
        """Send bytes to the daemon."""
        self.life.loop.call_soon(self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if not self.closing:
            self.protocol.data_received(data)

    def take(self) -> bytes:
        """Return what came since the last call."""
        data = bytes(self.written)
        self.written.clear()
        return data

    def hang_up(self) -> None:
        """Go away, as a client does that does not wait for the answer."""
        if not self.closing:
            self.closing = True
            self.life.loop.call_soon(self.protocol.connection_lost, None)

    # -- the daemon's end -----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Receive what the daemon sends; a dead one sends nothing."""
        if not self.closing and not self.life.bucket.faults.dead:
            self.written += data

    def is_closing(self) -> bool:
        """Return whether the connection ends."""
        return self.closing

    def close(self) -> None:
        """End the connection."""
        self.hang_up()

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the addresses of both ends."""
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8321)}.get(name, default)

    def pause_reading(self) -> None:
        """Nothing is held up here."""

    resume_reading = pause_reading


class Answer:
    """One answer, as far as it came; a client's parser feeds it."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.headers: dict[str, str] = {}
        self.complete = False
        self.status = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        """Take the status."""
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = True

    @property
    def document(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.body)


Settled = Callable[[Answer], None]


@dataclass
class Client:
    """One connection, which sends a request and waits for its answer, or goes away before it."""

    oracle: Oracle
    wire: Wire | None = None
    waiting: tuple[Answer, Settled] | None = None
    status: int = 0
    """What was answered last."""

    @property
    def busy(self) -> bool:
        """Whether it waits for an answer."""
        return self.waiting is not None

    def ask(
        self,
        life: Life,
        method: str,
        path: str,
        settled: Settled,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a request; ``settled`` is called with its answer, if one comes."""
        if self.wire is None or self.wire.closing:
            self.wire = Wire(life)
        self.waiting = (Answer(), settled)
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1:8321"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"content-length: {len(body)}")
        self.wire.send("\r\n".join([*lines, "", ""]).encode() + body)

    def look(self) -> None:
        """Take what came."""
        if self.wire is None or self.waiting is None:
            return
        answer, settled = self.waiting
        if data := self.wire.take():
            answer.feed(data)
        if answer.complete:
            self.waiting = None
            self.status = answer.status
            if answer.status >= 500 and not self._is_excused(self.wire, answer):
                raise Broken(f"answered {answer.status}: {bytes(answer.body)[:500]!r}")
            settled(answer)
        elif self.wire.closing:
            self.waiting = None

    def _is_excused(self, wire: Wire, answer: Answer) -> bool:
        document = json.loads(bytes(answer.body))
        code = document.get("code")
        if answer.status in PLEASE_WAIT:
            busy = code in _BUSY or "projections" in document
            return busy or not self.oracle.calm
        damaged = wire.life.bucket.faults.fired["damaged download"]
        return bool(damaged) and code == "archive_damaged"

    def leave(self) -> None:
        """Go away."""
        if self.wire is not None:
            self.wire.hang_up()
        self.wire = self.waiting = None

    def cut_off(self) -> None:
        """Notice that the daemon has gone."""
        self.wire = self.waiting = None


class Writer:
    """Sends events: one, several, again, in conflict with others, and wrong ones."""

    def __init__(self, name: str, oracle: Oracle, random: Random, results: Results) -> None:
        self.client = Client(oracle)
        self._oracle = oracle
        self._random = random
        self._source = f"/clients/{name}"
        self._numbers = iter(range(1_000_000))
        self._known: deque[dict[str, Any]] = deque(maxlen=200)
        self._results = results

    def send(self, life: Life, now: str, jobs: int) -> None:
        """Send the next request."""
        random = self._random
        events = [self._event(now, jobs) for _ in range(random.choice((1, 1, 1, 2, 3, 5, 9, 14)))]
        if self._known and random.random() < 0.3:
            events += random.sample(list(self._known), min(len(self._known), random.randint(1, 4)))
            if random.random() < 0.3:
                events = events[-1:]
            random.shuffle(events)
        if random.random() < 0.06:
            position = random.randrange(len(events))
            events[position] = events[position] | {"expectedversion": random.randrange(4)}
        wrong = random.random() < 0.04
        if wrong:
            events.insert(random.randrange(len(events) + 1), self._wrong(now, jobs))
        body, kind = self._encode(events)
        request = self._oracle.send(events)
        if not wrong:
            self._known.extend(request.events)
        self.client.ask(
            life, "POST", "/api/events", lambda answer: self._answered(request, answer, wrong),
            body, {"content-type": kind},
        )  # fmt: skip

    def _answered(self, request: Request, answer: Answer, wrong: bool) -> None:
        if wrong and answer.status in (200, 201):
            raise Broken("a wrong event was taken")
        if answer.status == 422 and not wrong:
            raise Broken(f"right events were refused: {bytes(answer.body)[:500]!r}")
        if answer.status == 409 and not any(each is not None for each in request.expected):
            raise Broken(f"a conflict with nothing: {bytes(answer.body)[:500]!r}")
        self._oracle.answered(request, answer.status, answer.document)

    def _event(self, now: str, jobs: int) -> dict[str, Any]:
        random, number = self._random, next(self._numbers)
        subject = f"job-{random.randrange(jobs)}"
        type_, data = random.choice(_COURSE)(random, number)
        if type_.startswith("file"):
            subject = data["path"]
        if type_.startswith("result"):
            data |= self._results.made(subject, f"{self._source[-2:]}-{number}")
            subject = data["path"]
        if random.random() < 0.05:
            *outer, name = _SECRET_AT.get(type_, _SECRET_ELSEWHERE)
            place = data
            for each in outer:
                place = place.setdefault(each, {})
            place[name] = f"token-{random.getrandbits(64):016x}"
        event = {
            "specversion": "1.0", "id": str(number), "source": self._source, "type": type_,
            "subject": subject, "time": now, "data": data,
        }  # fmt: skip
        if random.random() < 0.2:
            event |= {"actor": f"user-{number % 5}", "shift": str(number % 3), "bench": number}
        return event

    def _wrong(self, now: str, jobs: int) -> dict[str, Any]:
        event = self._event(now, jobs)
        wrong = self._random.choice(("type", "time", "data", "specversion"))
        return event | {wrong: {"type": "job.flown", "time": "late", "data": [1]}.get(wrong, "9")}

    def _encode(self, events: list[dict[str, Any]]) -> tuple[bytes, str]:
        if len(events) == 1 and self._random.random() < 0.8:
            return json.dumps(events[0]).encode(), "application/cloudevents+json"
        if self._random.random() < 0.5:
            return json.dumps(events).encode(), "application/cloudevents-batch+json"
        lines = "".join(json.dumps(event) + "\n" for event in events)
        return lines.encode(), "application/x-ndjson"


def _words(random: Random) -> str:
    return "x" * random.choice((0, 3, 40, 400, 3000))


_COURSE: Final[list[Callable[[Random, int], tuple[str, dict[str, Any]]]]] = [
    lambda r, n: ("job.submitted", {"kind": "annotation", "name": f"n{n}", "params": {"a": n}}),
    lambda r, n: ("job.started", {"worker": f"w{n % 3}"}),
    lambda r, n: ("job.progressed", {"fraction": round(r.random(), 3), "stage": _words(r)}),
    lambda r, n: ("job.succeeded", {"result": {"words": _words(r)}}),
    lambda r, n: ("job.failed", {"error": {"class": "Boom", "message": _words(r)}}),
    lambda r, n: ("alert.raised", {"severity": "error", "kind": "boom", "title": f"t{n}"}),
    lambda r, n: ("file.observed", {"path": f"/in/{n % 40}.fna", "size": n}),
    lambda r, n: ("result.recorded", {"kind": "gff3"}),
]


_SECRET_AT: Final[dict[str, tuple[str, ...]]] = {
    "job.submitted": ("name",),
    "job.failed": ("error", "message"),
    "alert.raised": ("title",),
}
"""Where the data of an event has a secret, if it has one: a name that the views show and search."""
_SECRET_ELSEWHERE: Final = ("extra", "note")


def secret_of(event: dict[str, Any]) -> tuple[str, str] | None:
    """Return the pointer and the text of an event's secret, None where it has none."""
    path = _SECRET_AT.get(event["type"], _SECRET_ELSEWHERE)
    found: Any = event["data"]
    for each in path:
        found = found.get(each, {})
    if not isinstance(found, str) or not found.startswith("token-"):
        return None
    return "/".join(("/data", *path)), found


class Follower:
    """Follows the stream of events, and comes back to where it was when the stream ends."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._wire: Wire | None = None
        self._answer = Answer()
        self._rest = b""
        self.last = 0
        self.seen: set[int] = set()
        self._may_be_ahead = False

    def look(self, life: Life) -> None:
        """Take what came; come back where the stream has ended."""
        wire = self._wire
        if wire is None:
            self._connect(life)
            return
        if data := wire.take():
            self._answer.feed(data)
            self._read()
        status = self._answer.status
        if status == 409 and self._may_be_ahead:
            # A disk was lost: what lies beyond the backup is not there any more.
            self.last, self._may_be_ahead = 0, False
        elif status >= 400 and status not in PLEASE_WAIT:
            raise Broken(f"the stream was answered {status}")
        if status >= 400 or self._answer.complete or wire.closing:
            if self._oracle.calm and status != 409:
                raise Broken(f"a stream (status {status}) has ended, and nothing is wrong")
            self._wire = None

    def cut_off(self) -> None:
        """Notice that the daemon has gone."""
        self._wire = None

    def lost(self, position: int) -> None:
        """Forget what a lost disk took."""
        self.seen = {each for each in self.seen if each <= position}
        self._may_be_ahead = True

    def _connect(self, life: Life) -> None:
        self._wire, self._answer, self._rest = Wire(life), Answer(), b""
        self._wire.send(
            b"GET /api/events/stream HTTP/1.1\r\nhost: 127.0.0.1:8321\r\n"
            b"accept: text/event-stream\r\nlast-event-id: %d\r\n\r\n" % self.last
        )

    def _read(self) -> None:
        if self._answer.status != 200:
            return
        *frames, self._rest = (self._rest + bytes(self._answer.body)).split(b"\n\n")
        self._answer.body.clear()
        for frame in frames:
            fields = dict(
                line.split(b": ", 1) for line in frame.split(b"\n") if not line.startswith(b":")
            )
            if b"data" not in fields:
                continue
            position = int(fields[b"id"])
            if position <= self.last:
                raise Broken(f"the stream went from {self.last} back to {position}")
            self.last = position
            self.seen.add(position)
            self._oracle.read(position, json.loads(fields[b"data"]))


class Reader:
    """Reads pages of events, jobs and lists, and compares them with what was shown before."""

    def __init__(self, oracle: Oracle, random: Random) -> None:
        self.client = Client(oracle)
        self._oracle = oracle
        self._random = random
        self._path = "/api/events?limit=20"
        self._last = 0
        """The position that the page before ended with."""

    def ask(self, life: Life, jobs: int) -> None:
        """Ask the next question."""
        random = self._random
        what = random.randrange(6)
        job = f"job-{random.randrange(jobs)}"
        if what < 3:
            self.client.ask(life, "GET", self._path, self._page)
            return
        head = life.log.head()
        waiting = f"/api/jobs/{job}?wait_for={head}&timeout=1"
        path = random.choice(
            (f"/api/jobs/{job}", f"/api/jobs/{job}/history", "/api/jobs?limit=5", "/api/alerts",
             "/api/summary", "/readyz", "/metrics", "/api/retention", "/api/backup", "/api/size",
             waiting)
        )  # fmt: skip
        self.client.ask(life, "GET", path, partial(_reach, head) if path == waiting else _pass)

    def _page(self, answer: Answer) -> None:
        if answer.status != 200:
            self._path, self._last = "/api/events?limit=20", 0
            return
        page = answer.document
        positions = [event["position"] for event in page["items"]]
        self._oracle.walk(self._last, positions)
        for event in page["items"]:
            self._oracle.read(event["position"], event)
        following = page.get("next")
        self._last = max([self._last, *positions]) if following else 0
        self._path = "/api/events?limit=20" + (f"&cursor={following}" if following else "")


def _reach(position: int, answer: Answer) -> None:
    """Require that what was waited for is shown."""
    if answer.status == 200 and answer.document["as_of"] < position:
        raise Broken(f"waited for {position}, and was shown {answer.document['as_of']}")


def _pass(_: Answer) -> None:
    """Whatever is right."""
