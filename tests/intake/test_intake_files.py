"""File-topic messages and object notifications: their one event, and its identity."""

from __future__ import annotations

from typing import Any

import pytest
from intake_lines import decode, payload

from domain.errors import Invalid
from domain.timestamps import parse_timestamp

STATS: dict[str, Any] = {
    "linecnt": 21,
    "bytecnt": 1972,
    "size": 211,
    "checksum": "e11ba5bc480441876a7aeb2b8d655fd4",
    "path": "s3://etl/out/2026/02/04/06/a.json.gz",
    "created": "2026-02-04T06:10:01Z",
}
OBJECT: dict[str, Any] = {
    "kind": "storage#object",
    "id": "raw/clicks/part-1.json.gz/1770185565933407",
    "name": "clicks/part-1.json.gz",
    "bucket": "raw",
    "generation": "1770185565933407",
    "timeCreated": "2026-02-04T06:12:45.997Z",
    "size": "14725896",
    "md5Hash": "XUFAKrxLKna5cZ2REBfFkg==",
    "metageneration": "1",
}


def test_a_file_message_is_an_observed_file() -> None:
    """Every fact of the file is kept, under the file's path."""
    (event,) = decode("flowlord-file", **STATS)
    assert (event.type, event.subject) == ("file.observed", STATS["path"])
    assert event.source == "/flowlord/files"
    assert event.time == parse_timestamp(STATS["created"])
    assert payload(event) == STATS


def test_a_directory_has_no_file_facts() -> None:
    """`isDir` and `files` are kept, a size of zero is a size."""
    (event,) = decode("flowlord-file", size=0, path="gs://raw/a/", created="", isDir=True, files=24)
    assert payload(event) == {"path": "gs://raw/a/", "size": 0, "is_dir": True, "files": 24}
    assert event.time is None


def test_a_notification_is_an_observed_file() -> None:
    """The object's address is the subject; the rest of the notification is kept."""
    (event,) = decode("gcs-notification", **OBJECT)
    assert (event.subject, event.source) == ("gs://raw/clicks/part-1.json.gz", "/flowlord/files")
    assert event.time == parse_timestamp(OBJECT["timeCreated"])
    assert payload(event) == {
        "path": event.subject,
        "size": 14725896,
        "checksum": OBJECT["md5Hash"],
        "created": OBJECT["timeCreated"],
        "generation": OBJECT["generation"],
        "bucket": "raw",
        "extra": {"fields": {"kind": "storage#object", "metageneration": "1"}},
    }


@pytest.mark.parametrize("message", [STATS, OBJECT])
def test_both_formats_of_the_topic_say_the_same(message: dict[str, Any]) -> None:
    """The topic carries both kinds of message, so either format's name reads either kind."""
    assert decode("flowlord-file", **message) == decode("gcs-notification", **message)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"created": "2026-02-04T07:10:01+01:00"}, True),
        ({"linecnt": None}, True),
        ({"size": 212}, False),
        ({"checksum": None}, False),
        ({"created": "2026-02-04T06:10:02Z"}, False),
        ({"path": "s3://etl/b"}, False),
    ],
)
def test_what_makes_a_file_message_the_same(change: dict[str, Any], same: bool) -> None:
    """Path, creation time, size and checksum are the identity, decoded."""
    (one,), (other,) = decode("flowlord-file", **STATS), decode("flowlord-file", **STATS | change)
    assert (one.id == other.id) == same


def test_an_object_is_the_same_by_its_generation() -> None:
    """A repeat is the same whatever else it says; a new generation is another event."""
    (one,) = decode("gcs-notification", **OBJECT)
    (repeat,) = decode("gcs-notification", **OBJECT | {"metageneration": "2"})
    (without,) = decode("gcs-notification", **OBJECT | {"id": None})
    (newer,) = decode("gcs-notification", **OBJECT | {"id": OBJECT["id"] + "1"})
    assert one.id == repeat.id == without.id != newer.id


def test_ids_stay_what_they_are() -> None:
    """The ids made of a message are part of the compatibility promise."""
    assert decode("flowlord-file", **STATS)[0].id == "91caafbd13600bab366d5a675610c1ca"
    assert decode("gcs-notification", **OBJECT)[0].id == "31aac0a9d0ddec10c5ab7457236a4876"


def test_a_creation_time_that_cannot_be_read_is_kept_as_text() -> None:
    """A time in another spelling is kept raw, as part of the identity but not as a time."""
    text = "2026-02-04 06:00:00.5 +0000 UTC"
    (event,) = decode("flowlord-file", **STATS | {"created": text})
    assert event.time is None
    assert "created" not in payload(event)
    assert payload(event)["extra"] == {"created": text}
    (event,) = decode("gcs-notification", **OBJECT | {"timeCreated": text})
    assert payload(event)["extra"]["created"] == text


@pytest.mark.parametrize(
    ("message", "pointers"),
    [
        ({}, ["/path"]),
        ({"path": "", "size": 1}, ["/path"]),
        ({"path": 5}, ["/path"]),
        ({"path": "a", "size": "5"}, ["/size"]),
        ({"path": "a", "size": -1, "linecnt": 1.5, "files": True}, ["/size", "/linecnt", "/files"]),
        ({"path": "a", "size": 2**63, "isDir": 1}, ["/size", "/isDir"]),
        ({"path": "a" * 4097}, [""]),
        ({"bucket": "raw", "id": "x"}, ["/name"]),
        ({"id": "x", "name": "n"}, ["/bucket"]),
        ({"id": "x", "name": "n", "bucket": "b", "size": "many"}, ["/size"]),
        ({"id": "x", "name": "n", "bucket": "b", "size": "9" * 30}, ["/size"]),
    ],
)
def test_wrong_fields_are_named(message: dict[str, Any], pointers: list[str]) -> None:
    """Each field that cannot be used is named by its pointer."""
    with pytest.raises(Invalid) as caught:
        decode("flowlord-file", **message)
    assert [fault.pointer for fault in caught.value.errors] == pointers
