"""The catalog: which types there are, what their payloads may hold, and what a typo is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
import pytest

from domain.catalog import (
    category_of,
    event_type,
    event_types,
    example_of,
    find_type,
    schema_of,
    upcast,
    upcast_payload,
    validate_payload,
)
from domain.errors import ChronicledError, Invalid, Undecodable, UnknownField, UnknownType
from domain.faults import FAULTS_MAX
from domain.payloads.base import Payload

CLIENT = [
    *(
        "job.submitted",
        "job.queued",
        "job.started",
        "job.progressed",
        "job.succeeded",
        "job.failed",
        "job.cancelled",
    ),
    *("job.interrupted", "job.lost", "job.retried", "job.linked", "job.pinned", "job.unpinned"),
    *("alert.raised", "alert.acknowledged", "alert.resolved", "alert.notified"),
    *(
        "file.observed",
        "file.matched",
        "file.processed",
        "file.removed",
        "result.offered",
        "result.recorded",
    ),
    *("queue.paused", "queue.resumed", "queue.cleared", "queue.recovered"),
    "producer.observed",
]
DAEMON = [
    *("job.archived", "job.continued", "job.purged", "job.restored"),
    *("alert.purged", "file.purged", "result.purged", "workflow.loaded", "workflow.removed"),
    *("result.verified", "result.missing", "result.changed", "result.archived", "policy.changed"),
    *(
        "maintenance.started",
        "maintenance.finished",
        "backup.snapshotted",
        "backup.proved",
        "backup.failed",
    ),
    *(
        "log.restored",
        "log.redacted",
        "log.truncated",
        "log.summarised",
        "deadletter.retried",
        "deadletter.discarded",
    ),
    *("import.started", "import.completed", "import.reverted"),
]
FIELDS = {
    "job.submitted": "kind name params input owner queue priority parent workflow phase attempt "
    "native_status",
    "job.queued": "queue priority reason",
    "job.started": "worker attempt native_status",
    "job.progressed": "fraction stage message",
    "job.succeeded": "result message warning native_status",
    "job.failed": "error native_status",
    "job.lost": "reason native_status",
    "job.retried": "next delay_seconds",
    "job.linked": "to role",
    "job.pinned": "reason",
    "alert.raised": "severity kind title message fingerprint job labels",
    "alert.notified": "by reason channel",
    "file.observed": "path size checksum linecnt bytecnt created is_dir files generation bucket",
    "file.matched": "workflow phases jobs reason",
    "file.removed": "outcome job message",
    "result.recorded": "job kind path bytes sha256 media_type expires",
    "queue.cleared": "reason count",
    "producer.observed": "name version versions",
    "job.archived": "reason rule location sha256 replaces events bytes row task files",
    "job.purged": "reason rule replaces counts digest summary location",
}


def test_the_catalog_has_every_type_once() -> None:
    """Types of clients and of the daemon are those of the design, and are told apart."""
    assert [entry.name for entry in event_types() if entry.client] == CLIENT
    assert [entry.name for entry in event_types() if not entry.client] == DAEMON
    assert all(entry.category == category_of(entry.name) for entry in event_types())
    assert all(entry.summary.endswith(".") or entry.summary for entry in event_types())


@pytest.mark.parametrize("type_", FIELDS)
def test_a_type_has_the_fields_of_the_design(type_: str) -> None:
    """The schema names exactly the agreed fields, and `extra`."""
    assert set(schema_of(type_)["properties"]) == {*FIELDS[type_].split(), "extra"}


@pytest.mark.parametrize("type_", CLIENT + DAEMON)
def test_the_example_of_a_type_is_valid(type_: str) -> None:
    """Each type has an example that its model takes, and that is stored as it is."""
    example = example_of(type_)
    assert orjson.loads(validate_payload(type_, example)) == example
    assert validate_payload(type_, orjson.dumps(example)) == orjson.dumps(example)


@pytest.mark.parametrize("type_", CLIENT + DAEMON)
def test_every_type_takes_extra_and_refuses_other_fields(type_: str) -> None:
    """`extra` is a free object in every type; a field of another name is refused."""
    needed = {"to": "x"} if type_ == "job.linked" else {}
    extra = {"anything": [1, None, {"deep": True}]}
    assert orjson.loads(validate_payload(type_, {**needed, "extra": extra}))["extra"] == extra
    with pytest.raises(UnknownField):
        validate_payload(type_, {**needed, "no_such_field_at_all": 1})
    with pytest.raises(Invalid):
        validate_payload(type_, {**needed, "extra": [1]})


@pytest.mark.parametrize("type_", CLIENT + DAEMON)
def test_a_payload_may_be_empty_and_null_is_absent(type_: str) -> None:
    """No field is required but the other end of a link, and null stands for absent."""
    nulls: dict[str, Any] = dict.fromkeys(schema_of(type_)["properties"])
    if type_ == "job.linked":
        nulls["to"] = "prediction-9"
        with pytest.raises(Invalid, match="to: Field required"):
            validate_payload(type_, {})
    else:
        assert validate_payload(type_, {}) == b"{}"
    assert validate_payload(type_, nulls) == orjson.dumps(nulls)


def test_models_are_frozen() -> None:
    """A validated payload does not change."""
    model = event_type("job.queued").model
    payload = model.model_validate({"queue": "a"})
    with pytest.raises(ValueError, match="frozen"):
        payload.queue = "b"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("type_", "suggestion"),
    [
        ("job.sumbitted", "did you mean 'job.submitted'?"),
        ("JOB.STARTED", "did you mean 'job.started'?"),
        ("jobs.failed", "did you mean 'job.failed'?"),
        ("alert.raise", "did you mean 'alert.raised'?"),
        ("", "known are: alert.acknowledged, "),
        ("☃" * 100_000, "known are: alert.acknowledged, "),
    ],
)
def test_an_unknown_type_is_told_the_nearest(type_: str, suggestion: str) -> None:
    """A typo gets the nearest known type, anything else the list; the text stays short."""
    with pytest.raises(UnknownType) as caught:
        event_type(type_)
    assert suggestion in caught.value.detail
    assert len(caught.value.detail) < 1000
    assert caught.value.errors[0].pointer == "/type"
    assert find_type(type_) is None


@pytest.mark.parametrize(
    ("type_", "payload", "pointer", "suggestion"),
    [
        ("job.submitted", {"naem": "x"}, "/data/naem", "did you mean 'name'?"),
        ("job.failed", {"error": {"clas": "x"}}, "/data/error/clas", "did you mean 'class'?"),
        ("job.failed", {"error": {"class_": "x"}}, "/data/error/class_", "did you mean 'class'?"),
        ("log.truncated", {"runs": [{"form": 1}]}, "/data/runs/0/form", "did you mean 'from'?"),
        ("job.pinned", {"a/b~c": 1}, "/data/a~1b~0c", "known are: extra, reason"),
        ("job.pinned", {"": 1}, "/data/", "known are: extra, reason"),
    ],
)
def test_an_unknown_field_is_told_the_nearest(
    type_: str, payload: dict[str, Any], pointer: str, suggestion: str
) -> None:
    """A typo in a field gets the nearest field of the same object, with a JSON pointer."""
    with pytest.raises(Invalid) as caught:
        validate_payload(type_, payload)
    fault = next(fault for fault in caught.value.errors if fault.code == "unknown_field")
    assert fault.pointer == pointer
    assert suggestion in fault.detail


@pytest.mark.parametrize(
    ("type_", "payload", "pointer"),
    [
        ("job.submitted", {"priority": True}, "/data/priority"),
        ("job.submitted", {"priority": "5"}, "/data/priority"),
        ("job.submitted", {"priority": 5.0}, "/data/priority"),
        ("job.submitted", {"priority": 2**63}, "/data/priority"),
        ("job.submitted", {"priority": -(2**63)}, "/data/priority"),
        ("job.submitted", {"attempt": 0}, "/data/attempt"),
        ("job.submitted", {"name": 5}, "/data/name"),
        ("job.submitted", {"params": []}, "/data/params"),
        ("job.progressed", {"fraction": 1.01}, "/data/fraction"),
        ("job.progressed", {"fraction": -0.01}, "/data/fraction"),
        ("job.progressed", {"fraction": float("nan")}, "/data/fraction"),
        ("job.progressed", {"fraction": False}, "/data/fraction"),
        ("job.failed", {"error": "no"}, "/data/error"),
        ("job.failed", {"error": {"message": 1}}, "/data/error/message"),
        ("job.retried", {"delay_seconds": -1}, "/data/delay_seconds"),
        ("job.retried", {"delay_seconds": float("inf")}, "/data/delay_seconds"),
        ("alert.raised", {"severity": "bad"}, "/data/severity"),
        ("alert.raised", {"severity": 3}, "/data/severity"),
        ("alert.raised", {"labels": {"a": 1}}, "/data/labels/a"),
        ("file.observed", {"size": -1}, "/data/size"),
        ("file.observed", {"size": 2**63}, "/data/size"),
        ("file.observed", {"is_dir": 1}, "/data/is_dir"),
        ("file.observed", {"created": "yesterday"}, "/data/created"),
        ("file.observed", {"generation": 5}, "/data/generation"),
        ("file.matched", {"jobs": ["a", 1]}, "/data/jobs/1"),
        ("file.matched", {"phases": "a"}, "/data/phases"),
        ("result.recorded", {"sha256": "abc"}, "/data/sha256"),
        ("result.recorded", {"sha256": "a" * 64 + "\n"}, "/data/sha256"),
        ("result.recorded", {"bytes": 1.5}, "/data/bytes"),
        ("result.offered", {"expires": "2026-02-30T00:00:00Z"}, "/data/expires"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(
    type_: str, payload: dict[str, Any], pointer: str
) -> None:
    """Values are taken strictly and within their bounds; the fault points at them."""
    with pytest.raises(Invalid) as caught:
        validate_payload(type_, payload)
    assert caught.value.code == "invalid"
    assert [fault.pointer for fault in caught.value.errors] == [pointer]


def test_the_greatest_integers_are_taken() -> None:
    """Integers of 63 bits fit, and are kept exactly."""
    payload = {"size": 2**63 - 1, "extra": {"unsigned": 2**64 - 1}}
    assert orjson.loads(validate_payload("file.observed", payload)) == payload


def test_faults_are_bounded() -> None:
    """A payload of a thousand unknown fields names a hundred of them."""
    with pytest.raises(UnknownField) as caught:
        validate_payload("job.queued", {f"x{number}": 1 for number in range(1000)})
    assert len(caught.value.errors) == FAULTS_MAX


def test_several_kinds_of_faults_are_invalid() -> None:
    """Only when all faults are of one kind is the error of that kind."""
    with pytest.raises(Invalid) as caught:
        validate_payload("job.queued", {"queeu": "a", "priority": "high"})
    assert caught.value.code == "invalid"
    assert {fault.code for fault in caught.value.errors} == {"unknown_field", "invalid"}


@pytest.mark.parametrize("payload", [b"", b"{", b"nan", b'{"a":NaN}', b'"\\ud800"', b"\xff"])
def test_bytes_that_are_not_json_are_undecodable(payload: bytes) -> None:
    """Payload bytes have to be JSON."""
    with pytest.raises(Undecodable):
        validate_payload("job.queued", payload)


@pytest.mark.parametrize("payload", [b"[]", b"1", b'"a"', b"null"])
def test_a_payload_is_an_object(payload: bytes) -> None:
    """JSON of another kind than an object is invalid."""
    with pytest.raises(Invalid) as caught:
        validate_payload("job.queued", payload)
    assert caught.value.errors[0].pointer == "/data"


def test_what_cannot_be_stored_is_invalid() -> None:
    """Nesting beyond what JSON text is written with here is an error, not a crash."""
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    with pytest.raises(Invalid, match="cannot be stored"):
        validate_payload("job.queued", {"extra": deep})


def test_order_and_null_of_a_payload_are_kept() -> None:
    """What is stored is what was sent, in compact form."""
    sent = b'{ "stage": "b", "message": null,\n "fraction": 1 }'
    assert validate_payload("job.progressed", sent) == b'{"stage":"b","message":null,"fraction":1}'


class Weighed(Payload):
    """A payload in its third version: grams became kilograms, then the name changed."""

    event_type: ClassVar[str] = "parcel.weighed"
    class_version: ClassVar[int] = 3

    mass: float | None = None

    @staticmethod
    def upcast_v1_v2(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Grams to kilograms."""
        return {**payload, "weight": payload["weight"] / 1000}

    @staticmethod
    def upcast_v2_v3(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """`weight` to `mass`."""
        return {"mass": payload["weight"]}


def test_an_older_payload_is_taken_through_each_version() -> None:
    """Upcasting starts at the version that was stored and ends at the present one."""
    assert upcast_payload(Weighed, 1, {"weight": 1500}) == {"mass": 1.5}
    assert upcast_payload(Weighed, 2, {"weight": 1.5}) == {"mass": 1.5}
    assert upcast_payload(Weighed, 3, {"mass": 1.5}) == {"mass": 1.5}


def test_present_newer_and_foreign_payloads_are_left_alone() -> None:
    """Upcasting changes only what is older than the model."""
    payload = {"queue": "a"}
    assert upcast("job.queued", 1, payload) is payload
    assert upcast("job.queued", 9, payload) is payload
    assert upcast("bank.opened", 1, payload) is payload


def test_every_error_is_one_of_ours() -> None:
    """The errors of validation belong to the project's tree."""
    for wrong in ({"queue": 1}, {"x": 1}):
        with pytest.raises(ChronicledError):
            validate_payload("job.queued", wrong)
