"""Object notifications: by Pub/Sub with attributes, as CloudEvents, and what a generation is."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from intake_lines import LIMITS, decode, keys, payload
from standard_messages import ATTRIBUTES, OBJECT, envelope, storage_event

from domain.errors import Invalid
from domain.events import NewEvent, RecordedEvent
from domain.file import fold_file
from domain.timestamps import parse_timestamp

PATH = "gs://raw/clicks/part-1.json.gz"
OLD, NEW = "1770185565933407", "1770189165933407"
REPLACED = "2026-02-04T07:12:45.997Z"


def pushed(type_: str, resource: object = b"", **attributes: str) -> NewEvent:
    """Return the event of a message of Pub/Sub about the object."""
    told = {**ATTRIBUTES, "eventType": type_, **attributes}
    (event,) = decode("pubsub-push", **envelope(resource, told))
    return event


def state_after(*events: NewEvent) -> Any:
    """Return the state of the file after these events, in this order."""
    recorded = [
        RecordedEvent(
            place, event.stream, place, event.type, event.time or 0, 2**60, event.source, event.id,
            event.data, payload(event), {}, 1,
        )
        for place, event in enumerate(events, 1)
    ]  # fmt: skip
    return fold_file(None, recorded)


def test_each_way_says_the_same_of_an_object() -> None:
    """The resource alone, the message of Pub/Sub and the CloudEvent have one identity."""
    (plain,) = decode("gcs-notification", **OBJECT)
    (cloudevent,) = decode("gcs-notification", **storage_event())
    by_push = pushed("OBJECT_FINALIZE", OBJECT)
    assert keys([plain]) == keys([cloudevent]) == keys([by_push])
    assert plain.time == cloudevent.time == by_push.time
    facts = payload(plain)
    assert payload(cloudevent) == facts
    beside = payload(by_push)["extra"].pop("attributes")
    assert beside == {key: ATTRIBUTES[key] for key in ("notificationConfig", "payloadFormat")}


@pytest.mark.parametrize("type_", ["OBJECT_METADATA_UPDATE", "OBJECT_FINALIZE"])
def test_a_generation_is_observed_once(type_: str) -> None:
    """New metadata are the same generation; the attributes alone are enough to see it."""
    assert keys([pushed(type_, OBJECT)]) == keys([pushed("OBJECT_FINALIZE")])
    event = pushed("OBJECT_FINALIZE")
    assert (event.type, event.subject) == ("file.observed", PATH)
    assert event.time == parse_timestamp(ATTRIBUTES["eventTime"])
    assert payload(event)["generation"] == OLD
    (updated,) = decode("gcs-notification", **storage_event("metadataUpdated"))
    assert keys([updated]) == keys([event])


@pytest.mark.parametrize("resource", [OBJECT, b""])
@pytest.mark.parametrize(
    ("type_", "happened", "outcome"),
    [("OBJECT_DELETE", "deleted", "deleted"), ("OBJECT_ARCHIVE", "archived", "archived")],
)
def test_a_removed_generation_is_a_removed_file(
    resource: object, type_: str, happened: str, outcome: str
) -> None:
    """Deleted or archived without a successor: the file is gone, since the time of the event."""
    event = pushed(type_, resource)
    assert (event.type, event.subject) == ("file.removed", PATH)
    assert payload(event)["outcome"] == outcome
    assert event.time == parse_timestamp(ATTRIBUTES["eventTime"])
    (cloudevent,) = decode("gcs-notification", **storage_event(happened))
    assert keys([cloudevent]) == keys([event])
    assert event.id != pushed(type_, objectGeneration=NEW).id


@pytest.mark.parametrize("with_resource", [True, False])
def test_what_was_overwritten_is_still_there(with_resource: bool) -> None:
    """In whatever order the two notifications come, the file is there with the new facts."""
    new = {**OBJECT, "id": f"raw/{OBJECT['name']}/{NEW}", "generation": NEW, "size": "7"}
    new["timeCreated"] = REPLACED
    finalize = pushed(
        "OBJECT_FINALIZE",
        new if with_resource else b"",
        objectGeneration=NEW,
        overwroteGeneration=OLD,
        eventTime=REPLACED,
    )
    delete = pushed(
        "OBJECT_DELETE",
        OBJECT if with_resource else b"",
        overwrittenByGeneration=NEW,
        eventTime="2026-02-04T07:12:46.100Z",
    )
    for order in permutations([pushed("OBJECT_FINALIZE", OBJECT), finalize, delete]):
        seen: dict[Any, NewEvent] = {}
        for event in order:
            seen.setdefault(event.id, event)
        state = state_after(*seen.values())
        assert (state.state, state.facts["generation"]) == ("observed", NEW)


def test_an_old_generation_that_is_deleted_late_takes_nothing_away() -> None:
    """The time of a removal is that at which the generation was replaced."""
    new = storage_event(id=None, generation=NEW, timeCreated=REPLACED)
    (observed,) = decode("gcs-notification", **new)
    (late,) = decode("gcs-notification", **storage_event("deleted", timeDeleted=REPLACED))
    for order in permutations([observed, late]):
        assert state_after(*order).state == "observed"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"type": "google.cloud.storage.object.v1.moved"}, "/type"),
        ({"data": None}, "/data"),
        ({"data": {"size": "x"}}, "/size"),
        ({"source": "x", "data": {}}, "/bucket"),
    ],
)
def test_wrong_cloudevents_are_refused(change: dict[str, Any], pointer: str) -> None:
    """Each field that cannot be used is named."""
    with pytest.raises(Invalid) as caught:
        decode("gcs-notification", **storage_event() | change)
    assert caught.value.errors[0].pointer == pointer


def test_a_name_may_be_told_by_the_envelope_alone() -> None:
    """Bucket and name of a CloudEvent stand in its source and subject too."""
    (event,) = decode("gcs-notification", **storage_event(bucket=None, name=None))
    assert event.subject == PATH
    assert LIMITS.event_bytes > len(event.data)
