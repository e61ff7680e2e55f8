"""How each source stands: what came, what is behind, and what went wrong last."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.eventlog.requests import Appended
from daemon.metrics import PREFIX, family
from daemon.sources.settings import SourceSettings
from domain.errors import ChronicledError


class SourceState(StrEnum):
    """What a source does."""

    RUNNING = "running"
    WAITING = "waiting"
    """What it reads is not there: no such file, folder or server yet."""
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source at one moment; times are in microseconds."""

    name: str
    kind: str
    format: str
    state: SourceState = SourceState.WAITING
    detail: str = ""
    messages: int = 0
    events: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    lag: int = 0
    """What waits to be read: bytes of a file, files of a folder, messages of a subject."""
    last_message: int | None = None
    last_error: str = ""
    last_error_code: str = ""
    last_error_time: int | None = None


@dataclass(slots=True)
class SourceBoard:
    """Where one source says how it stands; read by other threads."""

    settings: SourceSettings
    _status: SourceStatus = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        told = self.settings
        self._status = SourceStatus(told.name, told.kind, told.format)

    @property
    def status(self) -> SourceStatus:
        """How it stands."""
        return self._status

    def taken(self, messages: int, appended: Appended, now: int) -> None:
        """Count what a commit has recorded."""
        fresh = sum(not receipt.duplicate for receipt in appended.receipts)
        with self._lock:
            was = self._status
            self._status = replace(
                was,
                messages=was.messages + messages,
                events=was.events + fresh,
                duplicates=was.duplicates + len(appended.receipts) - fresh,
                dead_letters=was.dead_letters + appended.dead_letters,
                last_message=now,
            )

    def stands(self, state: SourceState, detail: str = "", *, lag: int | None = None) -> None:
        """Say what the source does now."""
        with self._lock:
            was = self._status
            lag = was.lag if lag is None else lag
            if (state, detail, lag) != (was.state, was.detail, was.lag):
                self._status = replace(was, state=state, detail=detail, lag=lag)

    def failed(self, error: BaseException, now: int) -> str:
        """Note an error; return how it is told."""
        code = error.code if isinstance(error, ChronicledError) else "internal"
        said = error.detail if isinstance(error, ChronicledError) else _told(error)
        with self._lock:
            self._status = replace(
                self._status,
                state=SourceState.FAILING,
                detail=said,
                last_error=said,
                last_error_code="unreadable" if isinstance(error, OSError) else code,
                last_error_time=now,
            )
        return said


def _told(error: BaseException) -> str:
    """Return what an error says; the text of an unforeseen one may hold anything."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return type(error).__name__


class SourceCollector(Collector):
    """The metrics of the sources; their names are those of the configuration."""

    def __init__(self, boards: Sequence[SourceBoard]) -> None:
        self._boards = boards

    def describe(self) -> list[Metric]:
        """Return nothing: the families are the same whatever the sources do."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        counted = {
            "messages": "Messages that a source has read.",
            "events": "Events that were new, of what a source has read.",
            "duplicates": "Events that were in the log already, of what a source has read.",
            "dead_letters": "Messages of a source that were put aside.",
        }
        lag = family(
            "source_lag", "What waits to be read: bytes, files or messages by kind.",
            "source", "kind",
        )  # fmt: skip
        failing = family("source_failing", "Whether a source cannot go on.", "source")
        last = family(
            "source_last_message_timestamp_seconds",
            "When a source last had a message recorded.",
            "source",
        )
        statuses = [board.status for board in self._boards]
        for name, text in counted.items():
            counter = CounterMetricFamily(f"{PREFIX}source_{name}", text, labels=("source",))
            for status in statuses:
                counter.add_metric([status.name], getattr(status, name))
            yield counter
        for status in statuses:
            lag.add_metric([status.name, status.kind], status.lag)
            failing.add_metric([status.name], float(status.state is SourceState.FAILING))
            if status.last_message is not None:
                last.add_metric([status.name], status.last_message / 1_000_000)
        yield from (lag, failing, last)
