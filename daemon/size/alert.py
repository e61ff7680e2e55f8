"""The one alert about sizes: raised when its reasons change, resolved when there are none.

Nothing waits here: an event is given to the writer, and what became of it shows at a later step.
What the log did not take is given to it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, Appended, EventQuery, Outcome
from daemon.intake.message import identity
from daemon.size.thresholds import Over
from domain.catalog import validate_payload
from domain.errors import NotReady, QueueFull
from domain.events import NewEvent

KIND: Final = "size"
ALERT: Final = "chronicled:size"
"""The id of the alert."""
SOURCE: Final = "/chronicled/size"
_RAISED: Final = "alert.raised"
_RESOLVED: Final = "alert.resolved"


class SizeAlert:
    """Has the log say what is over; driven by one thread."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._said: tuple[str, ...] | None = None
        """What the log says is over; None before it was asked."""
        self._newest = (0, 0)
        """Position and time of the event that says so."""
        self._asked: tuple[tuple[str, ...], int] | None = None
        self._outcome: Outcome | None = None

    @property
    def said(self) -> tuple[str, ...]:
        """The names of what the log says is over."""
        return self._said or ()

    def settle(self, over: Sequence[Over], now: int) -> None:
        """Record what is over, where that is not what the log says already."""
        if self._said is None:
            self._said = self._read()
        if self._asked is not None and not self._answered():
            return
        names = tuple(each.name for each in over)
        if names == self._said:
            return
        # Never before the last one, also where the clock was set back.
        time = max(now, self._newest[1])
        self._asked = (names, time)
        try:
            self._log.submit(Append([self._event(over, names, time)]), self._note)
        except (QueueFull, NotReady):
            self._asked = None

    def _note(self, outcome: Outcome) -> None:
        """On the writer's thread."""
        self._outcome = outcome

    def _answered(self) -> bool:
        """Take the writer's answer, where it is there."""
        outcome, asked = self._outcome, self._asked
        if outcome is None or asked is None:
            return False
        self._outcome = self._asked = None
        if isinstance(outcome, Appended):
            self._said, self._newest = asked[0], (outcome.receipts[0].position, asked[1])
        return True

    def _read(self) -> tuple[str, ...]:
        wanted = EventQuery(stream=f"alert/{ALERT}", types=(_RAISED, _RESOLVED), descending=True)
        events = self._log.select(wanted, 1).events
        if not events:
            return ()
        self._newest = (events[0].position, events[0].time)
        if events[0].type == _RESOLVED:
            return ()
        labels: dict[str, str] = events[0].payload.get("labels") or {}
        return tuple(name for name in labels.get("over", "").split(",") if name)

    def _event(self, over: Sequence[Over], names: tuple[str, ...], time: int) -> NewEvent:
        type_, payload = (_RAISED, _raised(over)) if over else (_RESOLVED, _resolved())
        id_ = identity(KIND, self._newest[0], *names)
        return NewEvent(type_, ALERT, SOURCE, id_, validate_payload(type_, payload), time)


def _raised(over: Sequence[Over]) -> dict[str, Any]:
    return {
        "severity": "error" if any(each.severe for each in over) else "warning",
        "kind": KIND,
        "title": "chronicled: too little room",
        "message": "; ".join(each.text for each in over),
        "fingerprint": KIND,
        "labels": {"over": ",".join(each.name for each in over)},
    }


def _resolved() -> dict[str, Any]:
    return {"reason": "every size is within its line again"}
