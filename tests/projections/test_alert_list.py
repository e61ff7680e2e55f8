"""The alerts: their list, one alert with its timeline, the plans."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import apsw
import pytest
from feeds import SECOND, START, MemoryFeed, everything, plans, views_of

from domain.alert import alert_view, fold_alert
from domain.errors import Invalid, InvalidCursor
from projections.alerts import AlertFilter, list_alerts
from projections.views import Views

TEXTS = ("severity", "kind", "job", "fingerprint")


@pytest.fixture(scope="module")
def feed() -> MemoryFeed:
    """Return a log of 200 alerts in every state."""
    chance = random.Random(5)
    feed = MemoryFeed()
    for number in range(200):
        payload = {name: f"{name}-{chance.randrange(3)}" for name in TEXTS if chance.random() < 0.8}
        at = chance.randrange(100) * 10
        feed.add("alert.raised", f"a/{number}", {**payload, "message": "no"}, at=at)
        for event_type in ("alert.acknowledged", "alert.notified", "alert.resolved"):
            if chance.random() < 0.5:
                feed.add(event_type, f"a/{number}", {"by": "mara"}, at=at + 5)
    feed.add("alert.acknowledged", "never raised", {"by": "mara"}, at=3)
    return feed


@pytest.fixture(scope="module")
def views(feed: MemoryFeed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    """Return a reader of the views of that log."""
    with views_of(tmp_path_factory.mktemp("alerts"), feed) as views:
        yield views


@pytest.fixture(scope="module")
def alerts(feed: MemoryFeed) -> list[dict[str, Any]]:
    """Return every alert as the domain folds it, by first position."""
    by_stream: dict[str, list[Any]] = {}
    for event in feed.events:
        by_stream.setdefault(event.stream, []).append(event)
    return [alert_view(fold_alert(None, events)) for events in by_stream.values()]


FILTERS = [
    AlertFilter(),
    AlertFilter(state=["open"]),
    AlertFilter(state=["open", "acknowledged"]),
    *(AlertFilter(**{name: f"{name}-1"}) for name in TEXTS),
    *(AlertFilter(**{a: f"{a}-1", b: f"{b}-2"}) for a, b in combinations(TEXTS, 2)),
    *(AlertFilter(**{name: f"{name}-1"}, state=["resolved", "open"]) for name in TEXTS),
    AlertFilter(since=START + 300 * SECOND, until=START + 600 * SECOND),
    AlertFilter(kind="kind-1", since=START + 300 * SECOND),
]


def fits(alert: dict[str, Any], wanted: AlertFilter) -> bool:
    """Whether a list has to show an alert."""
    seen = alert["first_seen"] or alert["updated"]
    return (
        all(getattr(wanted, name) in (None, alert[name]) for name in TEXTS)
        and (not wanted.state or alert["state"] in wanted.state)
        and (wanted.since is None or seen >= "2026-02-02T02:45:00Z")
        and (wanted.until is None or seen <= "2026-02-02T02:50:00Z")
    )


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_a_list_shows_what_it_should_newest_first(views, alerts, wanted) -> None:
    """Every filter and pair of filters, page by page, against a plain search."""
    items = everything(lambda cursor: views.list_alerts(wanted, 7, cursor))
    expected = [alert for alert in alerts if fits(alert, wanted)]
    place = {alert["id"]: number for number, alert in enumerate(alerts)}
    expected.sort(key=lambda a: (a["first_seen"] or a["updated"], place[a["id"]]), reverse=True)
    assert items == expected


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_every_filter_walks_an_index(views, wanted) -> None:
    """No filter or pair of filters scans the table or sorts."""
    db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for plan in plans(db, lambda db: list_alerts(db, wanted, 3, None)):
            assert "TEMP B-TREE" not in plan
            assert "SEARCH alerts USING" in plan or "SCAN alerts USING COVERING INDEX" in plan
    finally:
        db.close()


def test_an_alert_shows_its_timeline(tmp_path) -> None:
    """One alert says what happened to it, in order of time, with who and why."""
    feed = MemoryFeed()
    feed.add("alert.resolved", "a/1", {"by": "mara", "reason": "over"}, at=30)
    feed.add("alert.raised", "a/1", {"severity": "error", "message": "no"}, at=10)
    feed.add("alert.acknowledged", "a/1", {"by": "mara"}, at=20, actor="cli")
    feed.add("alert.notified", "a/1", {"channel": "#ops"}, at=20)
    feed.add("alert.raised", "a/1", {"severity": "critical"}, at=10**9)
    with views_of(tmp_path, feed) as views:
        alert, as_of = views.alert("a/1")
        assert as_of == feed.head()
        assert alert is not None
        timeline = alert.pop("timeline")
        assert alert == alert_view(fold_alert(None, feed.events))
        assert views.alert("a/2") == (None, 5)
    shown = [(each["type"], each["by"], each["channel"], each["severity"]) for each in timeline]
    assert shown == [
        ("alert.raised", None, None, "error"),
        ("alert.acknowledged", "mara", None, None),
        ("alert.notified", None, "#ops", None),
        ("alert.resolved", "mara", None, None),
        ("alert.raised", None, None, "critical"),
    ]
    assert [each["position"] for each in timeline] == [2, 3, 4, 1, 5]
    assert timeline[1]["actor"] == "cli"
    assert timeline[4]["skewed"]
    assert timeline[0]["time"] == "2026-02-02T02:40:10Z"


def test_a_long_timeline_shows_the_newest(tmp_path, monkeypatch) -> None:
    """The timeline in an answer is bounded; the count tells how many raises there were."""
    monkeypatch.setattr("projections.alerts.TIMELINE_MAX", 3)
    feed = MemoryFeed()
    for _ in range(5):
        feed.add("alert.raised", "a")
    with views_of(tmp_path, feed) as views:
        alert, _ = views.alert("a")
    assert alert is not None
    assert [each["position"] for each in alert["timeline"]] == [3, 4, 5]
    assert alert["count"] == 5


def test_what_cannot_be_asked_is_invalid(views) -> None:
    """Unknown states, bad limits and foreign cursors are refused."""
    with pytest.raises(Invalid, match="did you mean 'resolved'"):
        views.list_alerts(AlertFilter(state=["resolve"]))
    with pytest.raises(Invalid):
        views.list_alerts(limit=0)
    cursor = views.list_alerts(AlertFilter(kind="kind-1"), 1).next
    with pytest.raises(InvalidCursor):
        views.list_alerts(AlertFilter(kind="kind-2"), 1, cursor)
