"""Notifications of the Prometheus Alertmanager (webhook, version 4): each alert of the group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from daemon.intake.message import EventMaker, Message, Moment, Options, identity
from domain.errors import TooLarge
from domain.events import NewEvent

SOURCE: Final = "/alertmanager"

_SEVERITIES: Final[Mapping[str, str]] = {
    word: severity
    for severity, words in {
        "critical": "critical crit page fatal emergency disaster",
        "error": "error err major high ticket",
        "warning": "warning warn minor medium average",
        "info": "info information informational none low notice debug",
    }.items()
    for word in words.split()
}
"""The words for severity that are in use, and ours."""

_GROUP: Final = ("receiver", "groupKey", "externalURL")


def decode_alertmanager(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the events of the alerts of one notification.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: there are more alerts than a batch may have events.

    """
    message = Message(fields)
    alerts = message.parts("alerts")
    if 2 * len(alerts) > options.limits.batch_events:
        raise TooLarge(f"The notification has {len(alerts)} alerts; set max_alerts to fewer.")
    group = {name: message.text(name) for name in _GROUP}
    told = [_read(alert, group) for alert in alerts]
    message.check()
    make = EventMaker(options.source or SOURCE, options.limits)
    return [event for one in told for event in _events(make, one)]


@dataclass(frozen=True, slots=True)
class _Alert:
    """One alert of a notification: when it was so, and the payload of its raising."""

    resolved: bool
    start: Moment
    end: Moment
    said: Mapping[str, Any]


def _read(alert: Message, group: Mapping[str, str]) -> _Alert:
    status = alert.text("status", required=True)
    if status not in ("firing", "resolved", ""):
        alert.refuse("status", "has to be firing or resolved")
    labels, annotations = alert.texts("labels"), alert.texts("annotations")
    alert.text("startsAt", required=True)
    name = labels.get("alertname", "")
    extra = {"annotations": annotations, "generatorURL": alert.text("generatorURL"), **group}
    said = {
        "severity": _SEVERITIES.get(labels.get("severity", "").lower()),
        "kind": name,
        "title": annotations.get("summary") or annotations.get("title") or name,
        "message": annotations.get("description") or annotations.get("message"),
        "fingerprint": alert.text("fingerprint") or _fingerprint(labels),
        "labels": labels,
        "extra": {key: value for key, value in extra.items() if value},
    }
    return _Alert(status == "resolved", alert.moment("startsAt"), alert.moment("endsAt"), said)


def _fingerprint(labels: Mapping[str, str]) -> str:
    """Return what stands for the labels, which are what an alert is known by."""
    return identity(*(text for pair in sorted(labels.items()) for text in pair))[:16]


def _events(make: EventMaker, alert: _Alert) -> list[NewEvent]:
    """Return the raising of this occurrence, and its end where that is told.

    A repeat of a notification is no news: an occurrence is known by when it started. The end says
    that there was a start, in case that the notification of it was lost.
    """
    known = ("alertmanager", alert.said["fingerprint"], alert.start.text)
    subject = f"alertmanager/{alert.said['fingerprint']}"
    id_ = identity(*known, "firing")
    raised = make.event("alert.raised", subject, id_, alert.start.time, alert.said)
    if not alert.resolved:
        return [raised]
    id_ = identity(*known, "resolved", alert.end.text)
    over = {"by": "alertmanager", "extra": {"starts": alert.start.text, "ends": alert.end.text}}
    # An end before the start, by another clock, would leave the alert open.
    end = max(alert.end.time, alert.start.time or 0) if alert.end.time is not None else None
    return [raised, make.event("alert.resolved", subject, id_, end, over)]
