"""What the intake is to do, in a few lines: a log as a list, and the answers it owes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
_NAMED = {"unknown_type", "unknown_field", "reserved_type"}
"""The codes of faults that are those of the whole refusal, where there is no other fault."""


@dataclass(frozen=True)
class Sent:
    """An event as it is sent, and what is wrong with it: (pointer, code), or nothing."""

    event: Json
    fault: tuple[str, str] | None = None


@dataclass(frozen=True)
class Recorded:
    """An event of the log."""

    position: int
    version: int
    stream: str
    event: Json


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused; ``faults`` are (index, pointer, code)."""

    status: int
    code: str
    faults: frozenset[tuple[int, str, str]] = frozenset()


Receipt = dict[str, Any]


@dataclass
class LogModel:
    """The log beyond ``base``, the position at which this began; letters by their text."""

    base: int = 0
    batch_max: int = 10_000
    events: list[Recorded] = field(default_factory=list)
    letters: dict[str, int] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)

    @property
    def head(self) -> int:
        """The newest position."""
        return self.base + len(self.events)

    def append(self, batch: Sequence[Sent]) -> list[Receipt] | Refusal:
        """Take a request, all or nothing."""
        if len(batch) > self.batch_max:
            return Refusal(413, "too_large")
        faults = {(index, *sent.fault) for index, sent in enumerate(batch) if sent.fault}
        if faults:
            codes = {code for _, _, code in faults}
            code = codes.pop() if len(codes) == 1 and codes <= _NAMED else "invalid"
            return Refusal(422, code, frozenset(faults))
        before = list(self.events)
        receipts = []
        for sent in batch:
            receipt = self._append_one(sent.event)
            if receipt is None:
                self.events = before
                return Refusal(409, "version_conflict")
            receipts.append(receipt)
        return receipts

    def append_lines(
        self, lines: Mapping[str, Sent | None], follow: str, end: int
    ) -> tuple[list[Receipt], int]:
        """Take a stretch of lines, each for itself; return receipts, and how many are put aside.

        None stands for a line that is no JSON. What was put aside of a stretch that was there
        before, is not put aside again.
        """
        repeated = end <= self.offsets.get(follow, 0)
        receipts, aside = [], 0
        for text, sent in lines.items():
            taken = self.append([sent]) if sent else None
            if isinstance(taken, list):
                receipts += taken
            elif not repeated:
                self.letters[text] = self.letters.get(text, 0) + 1
                aside += 1
        self.offsets[follow] = max(end, self.offsets.get(follow, 0))
        return receipts, aside

    def stream(self, name: str) -> list[Recorded]:
        """Return the events of a stream."""
        return [each for each in self.events if each.stream == name]

    def _append_one(self, event: Json) -> Receipt | None:
        name = f"{event['type'].partition('.')[0]}/{event['subject']}"
        stream = self.stream(name)
        for there in stream:
            if (there.event["source"], there.event["id"]) == (event["source"], event["id"]):
                differs = _said(there.event) != _said(event)
                return _receipt(there, duplicate=True) | ({"differs": True} if differs else {})
        if event.get("expectedversion") not in (None, len(stream)):
            return None
        stored = {name: value for name, value in event.items() if name != "expectedversion"}
        recorded = Recorded(self.head + 1, len(stream) + 1, name, stored)
        self.events.append(recorded)
        return _receipt(recorded, duplicate=False)


def _said(event: Json) -> tuple[Any, Any]:
    return event["type"], event["data"]


def _receipt(recorded: Recorded, *, duplicate: bool) -> Receipt:
    return {
        "id": recorded.event["id"],
        "position": recorded.position,
        "stream": recorded.stream,
        "version": recorded.version,
        "duplicate": duplicate,
    }
