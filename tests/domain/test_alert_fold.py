"""The state of an alert: open, acknowledged or resolved, how often and since when."""

from __future__ import annotations

import orjson
from hypothesis import given
from recorded import NOON, RANKS, alert_events, in_log_order, recorded

from domain.alert import AlertState, alert_view, fold_alert
from domain.events import RecordedEvent
from domain.timestamps import MICROSECONDS

STATE_OF = {
    "alert.raised": "open",
    "alert.acknowledged": "acknowledged",
    "alert.resolved": "resolved",
}


def fold(*events: RecordedEvent) -> AlertState:
    """Return the alert after these events, which the log got in this order."""
    return fold_alert(None, in_log_order(list(events)))


@given(events=alert_events(ties=True))
def test_the_fold_agrees_with_sorting(events: list[RecordedEvent]) -> None:
    """State and fields are those of the greatest (time, rank, position) that set them."""
    expected: dict[str, object] = {"state": "open"}
    for event in sorted(events, key=lambda one: (one.time, RANKS.get(one.type, 0), one.position)):
        expected["state"] = STATE_OF.get(event.type, expected["state"])
        if event.type == "alert.raised":
            expected |= {name: value for name, value in event.payload.items() if value is not None}
        elif event.type in STATE_OF:
            expected[f"{STATE_OF[event.type]}_by"] = event.payload.get("by")
            expected[STATE_OF[event.type]] = event.time
    state = fold_alert(None, events)
    assert {name: getattr(state, name) for name in expected} == expected
    raised = [event.time for event in events if event.type == "alert.raised"]
    assert state.count == len(raised)
    assert state.first_seen == min(raised, default=None)
    assert state.last_seen == max(raised, default=None)


def test_an_alert_runs_through_its_life() -> None:
    """Raised twice, told, looked after and solved: the view with its fixed names."""
    raised = {"severity": "error", "kind": "disk", "title": "full", "labels": {"host": "a"}}
    state = fold(
        recorded("alert.raised", raised, subject="disk/a"),
        recorded("alert.raised", {"message": "still"}, at=5, subject="disk/a"),
        recorded("alert.notified", {"channel": "mail"}, at=6, subject="disk/a"),
        recorded("alert.acknowledged", {"by": "mara"}, at=7, subject="disk/a"),
        recorded("alert.resolved", {}, at=9, subject="disk/a", actor="tom"),
    )
    view = alert_view(state)
    assert orjson.loads(orjson.dumps(view)) == {
        "id": "disk/a",
        "state": "resolved",
        "severity": "error",
        "kind": "disk",
        "title": "full",
        "message": "still",
        "fingerprint": None,
        "job": None,
        "labels": {"host": "a"},
        "first_seen": "2026-02-04T12:00:00Z",
        "last_seen": "2026-02-04T12:00:05Z",
        "count": 2,
        "acknowledged": "2026-02-04T12:00:07Z",
        "acknowledged_by": "mara",
        "resolved": "2026-02-04T12:00:09Z",
        "resolved_by": "tom",
        "notified": "2026-02-04T12:00:06Z",
        "notifications": 1,
        "updated": "2026-02-04T12:00:09Z",
        "last_position": 5,
        "events": 5,
    }


def test_a_later_raise_opens_it_again() -> None:
    """After a new raise nobody has acknowledged or resolved it yet."""
    state = fold(
        recorded("alert.raised"),
        recorded("alert.acknowledged", {"by": "mara"}, at=1),
        recorded("alert.resolved", {"by": "mara"}, at=2),
        recorded("alert.raised", at=3),
    )
    view = alert_view(state)
    assert view["state"] == "open"
    assert (view["acknowledged"], view["acknowledged_by"]) == (None, None)
    assert (view["resolved"], view["resolved_by"]) == (None, None)


def test_an_earlier_raise_that_arrives_late_is_only_counted() -> None:
    """A raise from before the resolution leaves it resolved."""
    state = fold(recorded("alert.resolved", at=9), recorded("alert.raised", at=1))
    assert (state.state, state.count) == ("resolved", 1)


def test_of_one_moment_the_resolution_is_the_last_word() -> None:
    """Raised, acknowledged and resolved in one second is resolved, in any order of arrival."""
    events = [
        recorded("alert.resolved", {"by": "a"}),
        recorded("alert.acknowledged", {"by": "b"}),
        recorded("alert.raised"),
    ]
    for order in (events, events[::-1]):
        view = alert_view(fold(*order))
        assert (view["state"], view["resolved_by"]) == ("resolved", "a")
        assert view["acknowledged_by"] == "b"


def test_an_alert_from_the_epoch_keeps_its_times() -> None:
    """The time zero is a time, not a missing one."""
    zero = recorded("alert.raised", at=-NOON // MICROSECONDS)
    state = fold(zero, recorded("alert.raised", at=0))
    assert (state.first_seen, state.last_seen) == (0, NOON)
