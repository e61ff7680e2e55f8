"""Flowlord task messages: what each implies, and that repeats agree on identity."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake_lines import DONE, JOB, LIMITS, TO_DO, decode, keys, payload, task, types

from daemon.intake.formats import decode_body
from domain.errors import Invalid, TooLarge
from domain.events import NewEvent, RecordedEvent
from domain.job import fold_job
from domain.timestamps import format_timestamp

FAILED: dict[str, Any] = DONE | {"result": "error", "msg": "connection refused"}
EXHAUSTED: dict[str, Any] = FAILED | {
    "meta": "cron=2026-02-04T06&job=events&retried=3&retry=failed&workflow=etl%2Fhourly.toml"
}


def times(events: list[Any]) -> list[str | None]:
    """Return the times of events as text."""
    return [None if event.time is None else format_timestamp(event.time) for event in events]


def test_a_todo_message_is_a_submission() -> None:
    """What is to do is one submitted job: kind, name, parameters, workflow, phase and attempt."""
    (event,) = task(**TO_DO)
    assert (event.type, event.subject, event.source) == ("job.submitted", JOB, "/flowlord/tasks")
    assert event.extensions == {"correlationid": TO_DO["id"]}
    assert times([event]) == ["2026-02-04T10:00:00Z"]
    said = payload(event)
    extra = said.pop("extra")
    assert said == {
        "kind": "load",
        "name": "events",
        "params": {"info": TO_DO["info"], "cron": "2026-02-04T06"},
        "workflow": "etl/hourly.toml",
        "phase": "load:events",
        "attempt": 1,
    }
    assert extra == {
        "meta": {"workflow": "etl/hourly.toml", "cron": "2026-02-04T06", "job": "events"},
        "meta_raw": TO_DO["meta"],
    }


@pytest.mark.parametrize(
    ("result", "kind", "said"),
    [
        ("complete", "job.succeeded", {"message": "text"}),
        ("warn", "job.succeeded", {"warning": "text"}),
        ("error", "job.failed", {"error": {"class": "error", "message": "text"}}),
        ("alert", "job.failed", {"error": {"class": "alert", "message": "text"}}),
        ("Complete", "job.lost", {"reason": "text"}),
        ("sometime", "job.lost", {"reason": "text"}),
    ],
)
def test_a_done_message_is_a_submission_a_start_and_an_end(
    result: str, kind: str, said: dict[str, Any]
) -> None:
    """Every result has its end, an unknown one is lost; the producer's word is kept."""
    events = task(**DONE | {"result": result, "msg": "text"})
    assert types(events)[:3] == ["job.submitted", "job.started", kind]
    assert times(events)[:3] == [DONE["created"], DONE["started"], DONE["ended"]]
    assert {event.subject for event in events[:3]} == {JOB}
    end = payload(events[2])
    assert end.pop("extra")["meta_raw"] == DONE["meta"]
    assert end == said | {"native_status": result}


def test_an_alert_result_raises_an_alert() -> None:
    """The worker's request to tell somebody is an alert about the failed job."""
    alert = task(**DONE | {"result": "alert", "msg": "12 null values"})[3]
    assert (alert.type, alert.subject) == ("alert.raised", f"{JOB}:task_alert")
    assert payload(alert) == {
        "severity": "error",
        "kind": "task_alert",
        "title": "load:events: alert",
        "message": "12 null values",
        "fingerprint": "load:events",
        "job": JOB,
        "labels": {"workflow": "etl/hourly.toml", "cron": "2026-02-04T06"},
    }


def test_done_repeats_what_todo_said() -> None:
    """The submission that a done message implies is the to-do message's, but for `extra`."""
    todo, done = task(**TO_DO)[0], task(**DONE)[0]
    assert keys([todo]) == keys([done])
    assert todo.time == done.time
    assert payload(todo) == payload(done) | {"extra": payload(todo)["extra"]}


def test_the_exhausted_message_adds_only_its_alert() -> None:
    """`retry=failed` repeats the last attempt's done message and raises one alert more."""
    last = FAILED | {"meta": "cron=2026-02-04T06&job=events&retry=3&workflow=etl/hourly.toml"}
    done, exhausted = task(**last), task(**EXHAUSTED)
    assert keys(exhausted)[:3] == keys(done)
    assert types(exhausted)[3:] == ["alert.raised"]
    alert = payload(exhausted[3])
    assert alert["kind"] == "retries_exhausted"
    assert alert["job"] == done[0].subject
    assert alert["job"].endswith(":4")
    assert alert["fingerprint"] == "load:events"
    assert alert["extra"]["meta"]["retried"] == "3"


@pytest.mark.parametrize("result", ["", "complete", "warn"])
def test_what_did_not_fail_exhausts_nothing(result: str) -> None:
    """A leftover `retry=failed` on a task to do, or on one that ended well, raises no alert."""
    assert "alert.raised" not in types(task(**EXHAUSTED | {"result": result}))


@pytest.mark.parametrize(
    ("meta", "attempt"),
    [
        ("", 1),
        ("retry=1", 2),
        ("retry=+2", 3),
        ("retry=failed&retried=3", 4),
        ("retry=failed", 1),
        ("retry=soon", 1),
        ("retry=-1", 1),
        ("retry=99999999999999999999", 1),
        ("retry=1&retry=2", 2),
    ],
)
def test_the_attempt_comes_from_meta(meta: str, attempt: int) -> None:
    """The attempt is one more than the retries; what is no number of retries counts as none."""
    event = task(**TO_DO | {"meta": meta})[0]
    assert payload(event)["attempt"] == attempt
    assert event.subject.endswith(f":{attempt}")


def test_a_retry_in_the_same_second_is_a_job_of_its_own() -> None:
    """The attempt keeps apart what type, job, id and creation second do not."""
    first, second = task(**TO_DO)[0], task(**TO_DO | {"meta": TO_DO["meta"] + "&retry=1"})[0]
    assert first.subject != second.subject
    assert first.id != second.id
    assert first.extensions == second.extensions


def test_the_job_may_stand_in_meta_only() -> None:
    """A producer that knows no `job` field means the same by its `meta`."""
    assert keys(task(**TO_DO | {"job": None})) == keys(task(**TO_DO))
    assert keys(task(**TO_DO | {"job": ""})) == keys(task(**TO_DO))
    assert task(**TO_DO | {"job": "other"})[0].subject.startswith("load:other:")


def test_a_task_without_job_has_the_type_for_its_phase() -> None:
    """Neither field nor `meta` names a job: name is not set, phase is the type."""
    (event,) = task(**TO_DO | {"job": None, "meta": None})
    assert payload(event)["phase"] == "load"
    assert "name" not in payload(event)
    assert event.subject == f"load::{TO_DO['id']}:2026-02-04T10:00:00Z:1"


def test_started_without_a_result_is_running() -> None:
    """A task that was given back without result is submitted and started, nothing more."""
    events = task(**DONE | {"result": None, "msg": None})
    assert types(events) == ["job.submitted", "job.started"]
    assert payload(events[1])["extra"]["ended"] == DONE["ended"]
    assert keys(events) == keys(task(**DONE))[:2]


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        ({"started"}, ["10:00:00", "10:05:30"]),
        ({"ended"}, ["10:00:00", "10:00:05", "10:00:05"]),
        ({"started", "ended"}, ["10:00:00", "10:00:00"]),
        ({"created"}, ["10:00:05", "10:00:05", "10:05:30"]),
        ({"created", "started"}, ["10:05:30", "10:05:30"]),
        ({"created", "started", "ended"}, [None, None]),
    ],
)
def test_missing_times_are_taken_from_what_is_there(
    left_out: set[str], expected: list[str | None]
) -> None:
    """An end takes the time of the start, a submission the earliest; no start is made up."""
    events = task(**{name: value for name, value in DONE.items() if name not in left_out})
    assert times(events) == [moment and f"2026-02-04T{moment}Z" for moment in expected]
    assert ("job.started" in types(events)) == ("started" not in left_out)


def test_zero_times_are_missing_times() -> None:
    """The zero time of a producer's language says the same as no time."""
    zero = "0001-01-01T00:00:00Z"
    assert task(**DONE | {"started": zero}) == task(**DONE | {"started": None})
    assert task(**TO_DO | {"created": zero}) == task(**TO_DO | {"created": None})


def test_one_moment_in_two_spellings_is_one_moment() -> None:
    """Offsets and needless zeros change neither ids nor times."""
    other = {
        "created": "2026-02-04T03:00:00-07:00",
        "started": "2026-02-04T10:00:05.000Z",
        "ended": "2026-02-04T11:05:30+01:00",
    }
    assert task(**DONE | other) == task(**DONE)


def test_a_fraction_of_a_second_is_kept() -> None:
    """Two creations in one second are two jobs when their fractions say so."""
    (event,) = task(**TO_DO | {"created": "2026-02-04T10:00:00.250Z"})
    assert event.subject.endswith(":2026-02-04T10:00:00.25Z:1")
    assert times([event]) == ["2026-02-04T10:00:00.250000Z"]


@pytest.mark.parametrize(
    "text", ["2026-02-04 10:00:00 +0000 UTC", "yesterday", "2026-02-30T00:00:00Z"]
)
def test_a_time_that_cannot_be_read_is_kept_as_text(text: str) -> None:
    """What is no RFC 3339 time is kept raw, and never becomes a time."""
    events = task(**DONE | {"ended": text})
    assert times(events) == ["2026-02-04T10:00:00Z", "2026-02-04T10:00:05Z", "2026-02-04T10:00:05Z"]
    assert payload(events[2])["extra"]["ended"] == text
    events = task(**DONE | {"started": text})
    assert types(events) == ["job.submitted", "job.succeeded"]
    assert payload(events[1])["extra"]["started"] == text
    events = task(**DONE | {"started": text, "result": None, "ended": None})
    assert types(events) == ["job.submitted", "job.started"]
    assert times(events) == ["2026-02-04T10:00:00Z", "2026-02-04T10:00:00Z"]


def test_an_unreadable_creation_time_still_identifies_the_job() -> None:
    """Its text stands in the id, and every time is left out and kept raw.

    So the to-do and the done message sort by when each was recorded.
    """
    text = "2026-02-04 10:00:00 +0000 UTC"
    todo, done = task(**TO_DO | {"created": text}), task(**DONE | {"created": text})
    assert todo[0].subject == f"load:events:{TO_DO['id']}:{text}:1"
    assert keys(done)[0] == keys(todo)[0]
    assert types(done) == ["job.submitted", "job.succeeded"]
    assert times(todo + done) == [None, None, None]
    kept = payload(done[1])["extra"]
    assert (kept["created"], kept["started"], kept["ended"]) == (
        text,
        DONE["started"],
        DONE["ended"],
    )


def test_times_of_one_message_never_run_backwards() -> None:
    """A worker whose clock is behind did not end before it began; its own texts are kept."""
    events = task(**DONE | {"started": "2026-02-04T09:59:58Z", "ended": "2026-02-04T09:59:59Z"})
    assert times(events) == ["2026-02-04T10:00:00Z"] * 3
    kept = payload(events[2])["extra"]
    assert (kept["started"], kept["ended"]) == ("2026-02-04T09:59:58Z", "2026-02-04T09:59:59Z")


@pytest.mark.parametrize("missing", ["created", "id"])
def test_tasks_without_identity_do_not_share_a_job(missing: str) -> None:
    """What the message says otherwise keeps apart tasks without creation time or id."""
    bare = TO_DO | {missing: None}
    (one,), (other,) = task(**bare), task(**bare | {"info": "gs://in/other.json"})
    assert one.subject != other.subject
    assert re.search(r":1~[0-9a-f]{12}$", one.subject)
    assert keys(task(**bare)) == keys([one])


def test_runs_without_a_creation_time_are_jobs_of_their_own() -> None:
    """Two done messages that differ only in when they ran are two jobs."""
    bare = DONE | {"created": None}
    one, other = task(**bare), task(**bare | {"started": "2026-02-05T10:00:05Z"})
    assert {event.subject for event in one}.isdisjoint(event.subject for event in other)


def test_done_without_an_id_is_the_job_of_its_todo() -> None:
    """With a creation time, the to-do and the done message agree although neither has an id."""
    todo, done = task(**TO_DO | {"id": None}), task(**DONE | {"id": ""})
    assert keys(done)[0] == keys(todo)[0]
    assert done[0].extensions in (None, {})


def test_unknown_keys_are_kept() -> None:
    """What no task has is neither refused nor lost."""
    (event,) = task(**TO_DO | {"host": "n1", "tries": [1, {"a": 2.5}], "msg": "not yet"})
    extra = payload(event)["extra"]
    assert extra["fields"] == {"host": "n1", "tries": [1, {"a": 2.5}]}
    assert extra["msg"] == "not yet"


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"type": None}, ["/type"]),
        ({"type": ""}, ["/type"]),
        ({"type": 7}, ["/type"]),
        ({"id": 7}, ["/id"]),
        ({"meta": {"job": "a"}, "created": 1770199200}, ["/meta", "/created"]),
        ({"info": ["a"], "msg": True}, ["/info", "/msg"]),
        ({"job": "a\nb"}, [""]),
        ({"job": "x" * 5000}, [""]),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], pointers: list[str]) -> None:
    """Every field of a wrong JSON type is named by its pointer, all in one error."""
    message = {name: one for name, one in (DONE | fields).items() if one is not None}
    with pytest.raises(Invalid) as caught:
        decode("flowlord-task", **message)
    assert [fault.pointer for fault in caught.value.errors] == pointers
    assert all(fault.index == 0 for fault in caught.value.errors)


def test_a_task_over_the_limit_is_too_large() -> None:
    """What no event may hold is refused, not cut."""
    with pytest.raises(TooLarge):
        task(**DONE | {"msg": "x" * 300_000})


def test_null_says_nothing() -> None:
    """`null` is the same as a field that is not there."""
    body = b'{"type":"load","job":null,"info":null,"id":"1","created":null,"x":null}'
    (event,) = decode_body("flowlord-task", body, "application/json", LIMITS)
    assert payload(event) == {
        "kind": "load",
        "phase": "load",
        "attempt": 1,
        "extra": {"fields": {"x": None}},
    }


def test_ids_stay_what_they_are() -> None:
    """The ids made of a message are part of the compatibility promise."""
    assert [event.id for event in task(**EXHAUSTED)] == [
        "318ae79fa39977be1968df9c85cc8366",
        "663dad75b66422ec473b066a75984c86",
        "f71e02e4eb1c1c9928c6b80709f06da7",
        "b5aba2d4b8243b6ca2a78bc882649664",
    ]
    without_id = task(**TO_DO | {"id": None})[0].subject
    assert without_id == "load:events::2026-02-04T10:00:00Z:1~5e2114694359"


def test_the_source_may_be_given() -> None:
    """Another `source` replaces the default on every event, and changes nothing else."""
    events = decode_body("flowlord-task", orjson.dumps(DONE), "application/json", LIMITS, "/etl/2")
    assert {event.source for event in events} == {"/etl/2"}
    assert [event.id for event in events] == [event.id for event in task(**DONE)]


# What is the same in both spellings holds none of what the unescaped one cannot say.
words = st.text(st.characters(exclude_characters="&+%;", exclude_categories=["C"]), max_size=12)
optional_times = st.sampled_from([None, "", "2026-02-04T10:00:05Z", "2026-02-04T09:00:00Z", "noon"])
pairs = st.lists(st.tuples(words.filter(lambda key: key and "=" not in key), words), max_size=5)


@given(
    meta=pairs,
    job=words,
    retry=st.integers(0, 9),
    result=st.sampled_from(["", "complete", "error", "alert", "warn", "odd"]),
)
def test_both_spellings_of_meta_are_one_message(
    meta: list[tuple[str, str]], job: str, retry: int, result: str
) -> None:
    """Escaped or not, in whatever order: the same events, down to the decoded `meta`."""
    meta = [*meta, ("job", job), ("retry", str(retry)), ("workflow", "etl/a b.toml")]
    plain = "&".join(f"{key}={value}" for key, value in meta)
    escaped = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in meta)
    one = task(**DONE | {"job": None, "meta": plain, "result": result})
    other = task(**DONE | {"job": None, "meta": escaped, "result": result})
    assert keys(one) == keys(other)
    assert [event.time for event in one] == [event.time for event in other]
    for left, right in zip(map(payload, one), map(payload, other), strict=True):
        for said in (left, right):
            said.get("extra", {}).pop("meta_raw", None)
        assert left == right


@given(
    fields=st.fixed_dictionaries({
        "id": st.sampled_from([None, "", "5b0e9d5c", "a:b"]),
        "job": st.sampled_from([None, "", "events"]),
        "meta": st.sampled_from([None, "job=x&retry=2", "retry=failed&retried=2&workflow=w"]),
        "created": st.sampled_from(["2026-02-04T10:00:00Z", "2026-02-04T10:00:00.5+02:00", "now"]),
    }),
    result=st.sampled_from(["complete", "error", "alert", "warn", "odd"]),
    end=st.fixed_dictionaries({
        "started": optional_times, "ended": optional_times, "msg": st.none() | words,
    }),
)  # fmt: skip
def test_the_order_of_todo_and_done_does_not_matter(
    fields: dict[str, Any], result: str, end: dict[str, Any]
) -> None:
    """All that a to-do message says, its done message says too, and a repeat says nothing new."""
    todo = task(**TO_DO | fields)
    done = task(**DONE | fields | end | {"result": result})
    assert set(keys(todo)) < set(keys(done))
    assert {event.time for event in todo} <= {event.time for event in done}
    assert keys(done) == keys(task(**DONE | fields | end | {"result": result}))
    assert len(set(keys(done))) == len(done)


RECORDED = 1_900_000_000_000_000


def statuses(*messages: list[NewEvent]) -> dict[str, str]:
    """Return the status of each job once these messages are recorded, one after the other."""
    streams: dict[str, dict[str, RecordedEvent]] = {}
    position = 0
    for now, message in enumerate(messages, RECORDED):
        for event in message:
            if event.type.startswith("job."):
                position += 1
                recorded = RecordedEvent(
                    position, event.stream, 1, event.type, event.time or now, now, event.source,
                    event.id, event.data, payload(event), event.extensions or {},
                )  # fmt: skip
                streams.setdefault(event.subject, {}).setdefault(event.id, recorded)
    return {job: fold_job(None, events.values()).status for job, events in streams.items()}


@given(
    created=st.sampled_from(["2026-02-04T10:00:00Z", "2026-02-04T09:30:00Z", "noon"]),
    started=optional_times,
    ended=optional_times,
    result=st.sampled_from(["complete", "error", "alert", "warn", "odd"]),
)
def test_a_task_that_ended_is_shown_as_ended(
    created: str, started: str | None, ended: str | None, result: str
) -> None:
    """Whatever the times say and whichever message came first, a result decides the status."""
    todo = task(**TO_DO | {"created": created})
    times = {"created": created, "started": started, "ended": ended}
    done, running = task(**DONE | times | {"result": result}), task(**DONE | times | {"result": ""})
    expected = {"complete": "succeeded", "warn": "succeeded", "odd": "lost"}.get(result, "failed")
    for order in ([done], [todo, done], [done, todo], [todo, running, done]):
        assert set(statuses(*order).values()) == {expected}


texts = st.text(st.characters(exclude_categories=["C"]), max_size=6)
identities = st.tuples(texts.filter(bool), texts, texts.filter(bool), st.integers(0, 3))


@given(one=identities, other=identities)
def test_job_ids_are_equal_only_for_the_same_attempt(
    one: tuple[str, str, str, int], other: tuple[str, str, str, int]
) -> None:
    """Whatever type, job and id hold, colons included, two attempts never share an id."""

    def job_id(kind: str, job: str, id_: str, retry: int) -> str:
        fields = {"type": kind, "job": job, "id": id_, "meta": f"retry={retry}"}
        return task(**TO_DO | fields)[0].subject

    assert (job_id(*one) == job_id(*other)) == (one == other)


@given(
    created=optional_times,
    started=optional_times,
    ended=optional_times,
    result=st.sampled_from(["", "complete", "error", "alert", "warn", "odd"]),
)
def test_the_steps_of_a_message_are_in_order(
    created: str | None, started: str | None, ended: str | None, result: str
) -> None:
    """Whatever times there are, no step is before an earlier one, and all or none have a time."""
    events = task(
        **DONE | {"created": created, "started": started, "ended": ended, "result": result}
    )
    found = [event.time for event in events]
    assert found.count(None) in (0, len(found))
    assert found == sorted(found, key=lambda moment: moment or 0)
    assert 1 <= len(events) <= 4
