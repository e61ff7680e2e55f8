"""Alertmanager notifications: each alert of the group, each occurrence of it once."""

from __future__ import annotations

from typing import Any

import pytest
from intake_lines import LIMITS, decode, keys, payload, types
from standard_messages import AGAIN, FIRING, LABELS, RESOLVED, notification

from domain.errors import Invalid, TooLarge
from domain.events import NewEvent
from domain.timestamps import parse_timestamp


def told(message: dict[str, Any]) -> list[NewEvent]:
    """Return the events of one notification."""
    return decode("alertmanager", **message)


def test_a_firing_alert_is_raised() -> None:
    """Severity, kind, texts and labels are of the alert; what is of the group is kept."""
    (event,) = told(FIRING)
    assert (event.type, event.subject) == ("alert.raised", "alertmanager/c2b7a94f0d1e8a35")
    assert event.time == parse_timestamp("2026-02-04T06:00:00Z")
    said = payload(event)
    assert said.pop("extra") == {
        "annotations": FIRING["alerts"][0]["annotations"],
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "receiver": "chronicled",
        "groupKey": FIRING["groupKey"],
        "externalURL": "http://alertmanager:9093",
    }
    assert said == {
        "severity": "critical",
        "kind": "DiskFull",
        "title": "Disk full",
        "message": "2 % left on node-3",
        "fingerprint": "c2b7a94f0d1e8a35",
        "labels": LABELS,
    }


def test_a_resolved_alert_was_raised_before() -> None:
    """The end says when it began; the raising is that of the notification before."""
    raised, resolved = told(RESOLVED)
    assert types([raised, resolved]) == ["alert.raised", "alert.resolved"]
    assert keys([raised]) == keys(told(FIRING))
    assert resolved.time == parse_timestamp("2026-02-04T06:30:00Z")


def test_an_end_before_its_start_still_resolves() -> None:
    """Clocks differ: an alert that is told as resolved does not stay open for its times."""
    alert = {**RESOLVED["alerts"][0], "endsAt": "2026-02-04T05:59:59Z"}
    raised, resolved = told({**RESOLVED, "alerts": [alert]})
    assert resolved.time == raised.time == parse_timestamp("2026-02-04T06:00:00Z")
    assert payload(resolved)["extra"]["ends"] == "2026-02-04T05:59:59Z"


def test_an_occurrence_is_known_by_its_start() -> None:
    """A repeat is no news, whatever else changed; firing again later is another raising."""
    repeat = notification("firing", "2026-02-04T07:00:00+01:00", receiver="x")
    assert keys(told(repeat)) == keys(told(FIRING))
    assert keys(told(AGAIN)) != keys(told(FIRING))
    assert told(AGAIN)[0].stream == told(FIRING)[0].stream


def test_ids_stay_what_they_are() -> None:
    """The ids are part of the compatibility promise."""
    assert [event.id for event in told(RESOLVED)] == [
        "7095f6f041eff9d5291fb9b82441deab",
        "5b60fd3e2388a672b55ef3344c10b24c",
    ]


def test_a_group_is_all_its_alerts() -> None:
    """Each alert of a group has a status of its own; without a fingerprint the labels count."""
    other = {**RESOLVED["alerts"][0], "labels": {"alertname": "Down"}, "fingerprint": None}
    events = told({**FIRING, "alerts": [*FIRING["alerts"], other]})
    assert types(events) == ["alert.raised", "alert.raised", "alert.resolved"]
    assert events[1].stream == events[2].stream != events[0].stream


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("critical", "critical"),
        ("PAGE", "critical"),
        ("error", "error"),
        ("warning", "warning"),
        ("none", "info"),
        ("sev2", None),
        (None, None),
    ],
)
def test_words_for_severity(word: str | None, severity: str | None) -> None:
    """The words in use become ours; one that is not known stays a label."""
    labels = {"alertname": "A"} | ({"severity": word} if word else {})
    (event,) = told(notification("firing", "2026-02-04T06:00:00Z", labels=labels))
    assert payload(event).get("severity") == severity
    assert payload(event)["labels"] == labels


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        ({}, "/alerts"),
        ({"alerts": []}, "/alerts"),
        ({"alerts": [5]}, "/alerts"),
        (notification("open", "2026-02-04T06:00:00Z"), "/alerts/0/status"),
        (notification("firing", ""), "/alerts/0/startsAt"),
        (notification("firing", "x", labels={"n": 5}), "/alerts/0/labels"),
        (notification("firing", "x", endsAt=5), "/alerts/0/endsAt"),
        (notification("firing", "x", fingerprint=5), "/alerts/0/fingerprint"),
    ],
)
def test_wrong_fields_are_named(message: dict[str, Any], pointer: str) -> None:
    """Each field that cannot be used is named by its place in the group."""
    with pytest.raises(Invalid) as caught:
        told(message)
    assert [fault.pointer for fault in caught.value.errors] == [pointer]


def test_a_notification_is_bounded() -> None:
    """More alerts than a batch may have events are refused before anything is made of them."""
    with pytest.raises(TooLarge, match="max_alerts"):
        told({**FIRING, "alerts": FIRING["alerts"] * LIMITS.batch_events})


def test_no_secret_enters_the_events() -> None:
    """Labels, annotations and addresses are masked."""
    secret = "hunter2"
    message = notification(
        "firing",
        "2026-02-04T06:00:00Z",
        labels={"alertname": "A", "api_key": secret},
        annotations={"description": f"login failed, password: {secret}"},
        generatorURL=f"http://u:{secret}@prometheus/graph",
    )
    assert secret not in repr(told(message))
