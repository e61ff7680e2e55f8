"""How long questions take over HTTP on a quiet daemon with many jobs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from benchmarks.cache import kept_log
from benchmarks.load import send
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures
from benchmarks.workload import KINDS, OWNERS, QUEUES, SHAPES, START, STEP
from domain.timestamps import format_timestamp

LEAN_EVENTS_A_JOB = 2.4
SAMPLE_PAGES = 12
DEEP_PAGE, DEEP_LIMIT = 1_000, 50
STATUSES = ("succeeded", "failed", "cancelled", "interrupted", "lost", "submitted")
SORTS = ("-submitted", "submitted", "-updated", "updated")
ERROR_WORDS = ("refused", "connection", "killed", "parse")

Values = dict[str, list[Any]]


class Questions:
    """Makes the paths of every question, with values out of the data that is asked."""

    def __init__(self, service: Service, bench: Bench, events: int) -> None:
        self._chance = Random(bench.seed)
        self._service = service
        self._end = START + int(events * STEP)
        self._pages = min(DEEP_PAGE, max(2, bench.scale.jobs // DEEP_LIMIT // 4))
        self.jobs = self._sample()
        self.alerts = service.get("/api/alerts", limit=200)["items"]
        self.files = service.get("/api/files", limit=200)["items"]

    def _sample(self) -> list[dict[str, Any]]:
        """Return jobs from all over the time there is."""
        found: list[dict[str, Any]] = []
        for _ in range(SAMPLE_PAGES):
            page = self._service.get("/api/jobs", limit=100, sort="submitted", since=self._moment())
            found += page["items"]
        return found or self._service.get("/api/jobs", limit=100)["items"]

    def _moment(self, last: float = 0.9) -> str:
        return format_timestamp(START + int(self._chance.random() * last * (self._end - START)))

    def _range(self, share: float) -> dict[str, str]:
        """Return a stretch of time that is this share of all."""
        length = int((self._end - START) * share)
        since = START + int(self._chance.random() * (self._end - START - length))
        return {"since": format_timestamp(since), "until": format_timestamp(since + length)}

    def _of(self, name: str) -> list[str]:
        """Return values that jobs of the sample have in a field."""
        return sorted({job[name] for job in self.jobs if job.get(name)}) or ["none"]

    def all(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the name and the paths of every question."""
        yield "list/no filter", ["/api/jobs?limit=50"]
        for name, paths in self._filters():
            yield f"list/{name}", [f"/api/jobs?limit=50&{urlencode(each)}" for each in paths]
        for name, words in self._searches():
            yield f"search/{name}", [f"/api/jobs?limit=50&{urlencode({'q': q})}" for q in words]
        yield "list/cursor, page 1", ["/api/jobs?limit=50&sort=-submitted"]
        yield f"list/cursor, page {self._pages:,}", self._deep()
        yield from self._counts()
        yield from self._single()
        yield from self._other_lists()

    def _filters(self) -> Iterator[tuple[str, list[dict[str, str]]]]:
        yield "status", [{"status": status} for status in STATUSES]
        yield "two statuses", [{"status": "failed,lost"}, {"status": "failed,cancelled"}]
        fields = {"kind": KINDS, "owner": OWNERS, "queue": QUEUES}
        for name in ("kind", "name", "owner", "queue", "workflow", "parent", "correlation"):
            values = fields.get(name) or self._of(name)
            yield name, [{name: value} for value in values]
        for sort in SORTS:
            yield f"sort {sort}", [{"sort": sort}]
            yield f"kind, sort {sort}", [{"kind": kind, "sort": sort} for kind in KINDS]
        yield "since", [{"since": self._moment(1.0)} for _ in range(50)]
        yield "until", [{"until": self._moment(1.0)} for _ in range(50)]
        for share in (0.001, 0.1):
            yield f"{share:.1%} of the time", [self._range(share) for _ in range(50)]
        yield (
            "status, 1 % of the time",
            [self._range(0.01) | {"status": "failed"} for _ in "x" * 50],
        )
        pairs = {
            "kind + status (large, large)": [
                {"kind": kind, "status": status} for kind in KINDS for status in STATUSES[:2]
            ],
            "owner + queue (large, large)": [
                {"owner": owner, "queue": queue} for owner in OWNERS for queue in QUEUES
            ],
            "workflow + status": [
                {"workflow": flow, "status": "failed"} for flow in self._of("workflow")
            ],
            "correlation + status (selective, large)": [
                {"correlation": each, "status": "succeeded"} for each in self._of("correlation")
            ],
            "name + owner (selective, large)": [
                {"name": job["name"], "owner": job["owner"]} for job in self.jobs
            ],
            "kind + name of another kind (exclusive)": [
                {"kind": kind, "name": name}
                for kind, name in zip(cycle(KINDS), self._of("name"), strict=False)
                if not name.startswith(f"{kind} ")
            ],
        }
        yield from pairs.items()

    def _searches(self) -> Iterator[tuple[str, list[str]]]:
        failed = self._service.get("/api/jobs", status="succeeded", limit=200)["items"]
        batches = [(job.get("message") or "none").split()[-1] for job in failed]
        yield "rare word", batches
        yield "common word", list(ERROR_WORDS)
        yield "word of a name", list(KINDS)
        yield "two common words", ["refused connection", "killed gib", "line parse"]
        yield "common + rare word", [f"wrote {batch}" for batch in batches]
        yield "no match", [f"zz{at}qx" for at in range(50)]

    def _deep(self) -> list[str]:
        """Walk to the pages around the deep one; return their paths."""
        paths, cursor = [], ""
        for page in range(self._pages + 20):
            path = f"/api/jobs?limit={DEEP_LIMIT}" + (f"&cursor={quote(cursor)}" if cursor else "")
            if page >= self._pages - 20:
                paths.append(path)
            cursor = self._service.get(path)["next"]
            if not cursor:
                break
        return paths or [path]

    def _counts(self) -> Iterator[tuple[str, list[str]]]:
        yield "counts/summary", ["/api/summary"]
        yield "counts/summary of a kind", [f"/api/summary?kind={kind}" for kind in KINDS]
        ranges = [urlencode(self._range(0.3)) for _ in range(50)]
        yield "counts/summary of 30% of the time", [f"/api/summary?{each}" for each in ranges]
        yield "counts/metrics", ["/api/metrics"]

    def _single(self) -> Iterator[tuple[str, list[str]]]:
        ids = [quote(job["id"], safe="") for job in self.jobs]
        yield "one/job", [f"/api/jobs/{each}" for each in ids]
        yield "one/history", [f"/api/jobs/{each}/history" for each in ids]
        yield (
            "one/history of all attempts",
            [f"/api/jobs/{each}/history?attempts=all" for each in ids],
        )
        if self.alerts:
            yield "one/alert", [f"/api/alerts/{quote(each['id'], safe='')}" for each in self.alerts]
        yield "one/healthz", ["/healthz"]

    def _other_lists(self) -> Iterator[tuple[str, list[str]]]:
        streams = [urlencode({"stream": f"job/{job['id']}"}) for job in self.jobs]
        yield "events/of a stream", [f"/api/events?{each}" for each in streams]
        yield "events/newest", ["/api/events?limit=50&order=desc"]
        types = ("job.submitted", "job.succeeded", "job.failed", "alert.raised", "file.observed")
        yield "events/of a type", [f"/api/events?limit=50&type={each}" for each in types]
        sources = [f"/bench/{shape}/node-{node}" for shape in set(SHAPES) for node in range(4)]
        yield (
            "events/of a source",
            [f"/api/events?limit=50&{urlencode({'source': each})}" for each in (*sources, "none")],
        )
        runs = [urlencode({"correlation": each}) for each in self._of("correlation")]
        yield "events/of a correlation", [f"/api/events?limit=50&{each}" for each in runs]
        yield (
            "events/of a time",
            [f"/api/events?limit=50&{urlencode(self._range(0.001))}" for _ in range(50)],
        )
        yield "alerts/no filter", ["/api/alerts?limit=50"]
        yield (
            "alerts/state",
            [f"/api/alerts?limit=50&state={each}" for each in ("open", "resolved")],
        )
        levels = ("warning", "error", "critical")
        yield "alerts/severity", [f"/api/alerts?limit=50&severity={each}" for each in levels]
        yield (
            "alerts/fingerprint",
            [
                f"/api/alerts?limit=50&{urlencode({'fingerprint': each['fingerprint']})}"
                for each in self.alerts
            ]
            or ["/api/alerts"],
        )
        yield "files/no filter", ["/api/files?limit=50"]
        paths = [each["path"] for each in self.files] or ["none"]
        yield "files/path", [f"/api/files?{urlencode({'path': each})}" for each in paths]
        yield (
            "files/prefix",
            [f"/api/files?limit=50&{urlencode({'prefix': each[:-12]})}" for each in paths],
        )
        yield (
            "files/since",
            [f"/api/files?limit=50&{urlencode({'since': self._moment()})}" for _ in range(50)],
        )


def measure(bench: Bench) -> Figures:
    """Ask every question often, one after the other, with values that vary."""
    events = int(bench.scale.jobs * LEAN_EVENTS_A_JOB)
    figures: Figures = {}
    with serving(kept_log(bench, events, lean=True).data) as service:
        service.wait_ready()
        questions = Questions(service, bench, events)
        figures["queries/jobs"] = float(sum(service.get("/api/metrics")["jobs"].values()))
        for name, paths in questions.all():
            place = bench.scratch / "paths"
            asked = islice(cycle(paths), bench.scale.requests)
            place.write_text("\n".join(asked) + "\n")
            seen = send(service.port, bench.scratch, gets=place)
            figures[f"queries/{name} p50 ms"] = seen.p50_ms
            figures[f"queries/{name} p99 ms"] = seen.p99_ms
    return figures
