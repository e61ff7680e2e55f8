"""OpenLineage events: what a run did as the events of a job, and its datasets as files.

What the standard requires is required here; facets are read where they have the known shape, and
whatever else an event says is kept in ``extra.raw``, so that a newer version of it costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from daemon.intake.message import EventMaker, Message, Moment, Options, identity
from domain.errors import ChronicledError, Fault
from domain.events import NewEvent
from domain.lives import ARCHIVED

if TYPE_CHECKING:
    from daemon.eventlog.transaction import Transaction

SOURCE: Final = "/openlineage"
KIND: Final = "openlineage"

FILES_MAX: Final = 32
"""So many datasets of an event become files; the others stand in the raw event alone."""

ADDRESS_MAX: Final = 2_048
"""A dataset with a longer address (characters) stands in the raw event alone."""

_IMPLIED: Final = "implied-"
"""How the id of a submission begins that only follows from the end of a run."""

_ENDS: Final[Mapping[str, str]] = {
    "COMPLETE": "job.succeeded",
    "FAIL": "job.failed",
    "ABORT": "job.cancelled",
}
_CLASS: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*(?:Error|Exception|Exit|Interrupt))\b")


def decode_openlineage(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the events of one run event, dataset event or job event.

    Raises:
        Invalid: the run's id or the time is missing, or what is made of it is not valid.
        TooLarge: what is made of it is over a limit.

    """
    message = Message(fields)
    message.text("eventTime", required=True)
    time = message.moment("eventTime")
    type_ = message.text("eventType").upper()
    if "run" in fields or "eventType" in fields:
        message.part("run").text("runId", required=True)
    elif not (_text(fields, "dataset", "name") or _text(fields, "job", "name")):
        message.faults.append(Fault("neither a run, nor a job, nor a dataset", pointer="/run"))
    message.check()
    said = Message(fields).rest()
    make = EventMaker(options.source or SOURCE, options.limits)
    raw = _raw(said, options.limits.event_bytes)
    if "run" not in fields:
        return [_definition(said, make, time, raw)]
    return _Run(said, make, type_, time, raw).events()


def settle_openlineage(transaction: Transaction, events: Sequence[NewEvent]) -> list[NewEvent]:
    """Leave out each submission that only follows from the end of a run, where there is another.

    A run whose start was not heard of has to have its name and its parent all the same. Beside
    the start the second submission would show the run as submitted when it ended.
    """
    told = {event.stream for event in events if _is_told(event)}
    settled: list[NewEvent] = []
    for event in events:
        if event.id.startswith(_IMPLIED):
            # What was submitted and archived since has an event that stands for it.
            known = ("job.submitted", ARCHIVED)
            if event.stream in told or any(transaction.holds(event.stream, t) for t in known):
                continue
            told.add(event.stream)
        settled.append(event)
    return settled


def _is_told(event: NewEvent) -> bool:
    return event.type == "job.submitted" and not event.id.startswith(_IMPLIED)


@dataclass(frozen=True, slots=True)
class _Run:
    """One event of a run; ``said`` are its fields, ``raw`` is what is kept of them."""

    said: Mapping[str, Any]
    make: EventMaker
    type: str
    time: Moment
    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The run's id, which is the job's."""
        return _text(self.said, "run", "runId")

    def events(self) -> list[NewEvent]:
        """Return what the event says of its run, then of its datasets."""
        if self.type == "START":
            started = {"native_status": self.type, "extra": self.raw}
            return [self._submitted(""), self._job("job.started", started)]
        if self.type in _ENDS:
            ended = self._job(_ENDS[self.type], {**self._end(), "extra": self.raw})
            return [self._submitted(_IMPLIED), ended, *self._files()]
        # RUNNING, OTHER, and what a newer version may have: noted, whatever the run's status is.
        return [self._job("job.progressed", {"extra": self.raw})]

    def _job(self, type_: str, payload: Mapping[str, Any], prefix: str = "") -> NewEvent:
        make = EventMaker(self.make.source, self.make.limits, {"correlationid": self._root})
        id_ = prefix + self._identity(type_)
        return make.event(type_, self.id, id_, self.time.time, payload)

    def _identity(self, *parts: str) -> str:
        return identity("openlineage", self.id, self.type, self.time.text, *parts)

    @property
    def _root(self) -> str:
        return _text(self._parent, "root", "run", "runId") or self._parent_id or self.id

    @property
    def _parent(self) -> Any:
        facets = _find(self.said, "run", "facets")
        return _find(facets, "parent") or _find(facets, "parentRun")

    @property
    def _parent_id(self) -> str:
        return _text(self._parent, "run", "runId")

    def _submitted(self, prefix: str) -> NewEvent:
        """Return what the run is: its name, parent, engine, and what it reads."""
        facets = _find(self.said, "run", "facets")
        engine = {
            "name": _text(facets, "processing_engine", "name"),
            "version": _text(facets, "processing_engine", "version"),
        }
        params = {
            "nominal_start": _text(facets, "nominalTime", "nominalStartTime"),
            "nominal_end": _text(facets, "nominalTime", "nominalEndTime"),
            "engine": {name: one for name, one in engine.items() if one},
        }
        owners = _find(self.said, "job", "facets", "ownership", "owners")
        payload = {
            "kind": KIND,
            "name": _address(_find(self.said, "job")),
            "parent": self._parent_id if self._parent_id != self.id else "",
            "owner": _text(owners[0], "name") if isinstance(owners, list) and owners else "",
            "params": {name: one for name, one in params.items() if one},
            "input": [address for address, _ in _datasets(self.said, "inputs")],
            "native_status": self.type,
        }
        return self._job("job.submitted", payload, prefix)

    def _end(self) -> dict[str, Any]:
        """Return what the end of the run says of itself."""
        found = _find(self.said, "run", "facets", "errorMessage")
        text_max = self.make.limits.event_bytes // 16
        message, trace = _text(found, "message")[:text_max], _text(found, "stackTrace")
        if self.type == "FAIL":
            tail = trace[-text_max:]
            error = {"class": _class(message, trace), "message": message, "log": tail}
            said: dict[str, Any] = {"error": {name: one for name, one in error.items() if one}}
        elif self.type == "ABORT":
            said = {"reason": message}
        else:
            outputs = [address for address, _ in _datasets(self.said, "outputs")]
            said = {"result": {"outputs": outputs} if outputs else None, "warning": message}
        return {**said, "native_status": self.type}

    def _files(self) -> Iterator[NewEvent]:
        """Yield what became of the datasets of a run that is complete.

        A dataset whose name is no valid subject is in the raw event alone: it is no reason to
        refuse the run.
        """
        if self.type != "COMPLETE":
            return
        for address, _ in _datasets(self.said, "inputs"):
            read = {"outcome": "read", "job": self.id}
            yield from self._file("file.processed", address, address, read)
        for address, dataset in _datasets(self.said, "outputs"):
            if _is_dropped(dataset):
                dropped = {"outcome": "dropped", "job": self.id}
                yield from self._file("file.removed", address, address, dropped)
                continue
            statistics = _find(dataset, "outputFacets", "outputStatistics")
            size = _count(statistics, "size")
            seen = {
                "path": address,
                "size": size,
                "linecnt": _count(statistics, "rowCount"),
                "files": _count(statistics, "fileCount"),
            }
            made = {"job": self.id, "kind": "dataset", "path": address, "bytes": size}
            yield from self._file("file.observed", address, address, seen)
            yield from self._file("result.recorded", address, f"{self.id}/{address}", made)

    def _file(
        self, type_: str, address: str, subject: str, payload: Mapping[str, Any]
    ) -> Iterator[NewEvent]:
        try:
            id_ = self._identity(type_, address)
            yield self.make.event(type_, subject, id_, self.time.time, payload)
        except ChronicledError:
            return


def _definition(
    said: Mapping[str, Any], make: EventMaker, time: Moment, raw: Mapping[str, Any]
) -> NewEvent:
    """Return what an event says that is of no run: about a dataset, or about a job as such."""
    dataset = _find(said, "dataset")
    subject = _address(dataset) or f"openlineage:{_address(_find(said, 'job'))}"
    id_ = identity("openlineage", subject, time.text, _digest(said))
    if _is_dropped(dataset):
        return make.event(
            "file.removed", subject, id_, time.time, {"outcome": "dropped", "extra": raw}
        )
    return make.event("file.observed", subject, id_, time.time, {"path": subject, "extra": raw})


def _digest(said: Mapping[str, Any]) -> str:
    return identity(orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode())


def _raw(said: Mapping[str, Any], event_bytes: int) -> dict[str, Any]:
    """Return the event to be kept; of one that would leave no room only how long it was."""
    size = len(orjson.dumps(said))
    return {"raw": said} if size <= event_bytes // 2 else {"raw_bytes": size}


def _datasets(said: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """Return the address of each dataset, and the dataset, each address once."""
    found = _find(said, name)
    datasets: dict[str, Any] = {}
    for dataset in found if isinstance(found, list) else ():
        address = _address(dataset)
        if 0 < len(address) <= ADDRESS_MAX:
            datasets.setdefault(address, dataset)
        if len(datasets) == FILES_MAX:
            break
    return list(datasets.items())


def _address(named: Any) -> str:
    """Return namespace and name as one address, as other producers name the same file."""
    namespace, name = _text(named, "namespace"), _text(named, "name")
    if not name or namespace in ("", "file"):
        return name
    return f"{namespace.rstrip('/')}/{name.lstrip('/')}"


def _is_dropped(dataset: Any) -> bool:
    change = _text(dataset, "facets", "lifecycleStateChange", "lifecycleStateChange")
    return change.upper() == "DROP"


def _class(message: str, trace: str) -> str:
    """Return the name of the exception, from where the languages write it; empty if not told."""
    lines = [line.strip() for line in trace.strip().splitlines()]
    for line in (message, *lines[-1:], *lines[:1]):
        found = _CLASS.match(line[:512])
        if found:
            return found[1]
    return ""


def _find(fields: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(fields, dict):
            return None
        fields = fields.get(name)
    return fields


def _text(fields: Any, *path: str) -> str:
    found = _find(fields, *path)
    return found if isinstance(found, str) else ""


def _count(fields: Any, name: str) -> int | None:
    found = _find(fields, name)
    return found if type(found) is int and 0 <= found < 2**63 else None
