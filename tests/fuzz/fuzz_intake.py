"""Targets of intake: every format, CloudEvents in every mode, workflow files, small texts.

Whatever the bytes are, a strict body is taken or refused as a whole, lenient lines become events
or dead letters without a fault of the decoder, and decoding twice gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import orjson
from fuzz_target import Target, refusing
from intake_lines import DONE, TO_DO
from standard_messages import SAMPLES, envelope

from daemon.demo.samples import SAMPLES as DEMO
from daemon.intake.formats import (
    FORMATS,
    PUSH,
    Decoded,
    Format,
    decode_body,
    decode_document,
    decode_lines,
    decode_message,
    push_format,
)
from daemon.intake.media import BATCH, LINES, PLAIN, STRUCTURED
from daemon.intake.pubsub_push import wrap
from daemon.workflows.cron import Cron
from daemon.workflows.durations import parse_duration
from daemon.workflows.issues import ISSUES_MAX
from daemon.workflows.parsing import PHASES_MAX
from daemon.workflows.workflow_file import read_workflow
from domain.catalog import event_types
from domain.cloudevents import (
    example_event,
    from_binary,
    from_json_or_batch,
    from_ndjson,
)
from domain.errors import ChronicledError
from domain.events import NewEvent
from domain.limits import Limits
from domain.moments import Point
from domain.prepared import prepare
from domain.redaction import redacted
from domain.timestamps import format_timestamp, parse_timestamp

LIMITS = Limits(subject_bytes=512, event_bytes=16_384, batch_events=200, batch_bytes=256 * 1024)
"""Small ones, so that inputs meet them."""
_BODIES = (PLAIN, STRUCTURED, BATCH, *sorted(LINES))
_INTERNAL = ChronicledError.code
_STATE = {
    "queue": [{"image_path": "/in/b.png", "status": "pending", "created_at": 1770185500.25}],
    "current_task": {
        "image_path": "/in/a.png", "status": "processing", "progress": 0.5,
        "created_at": 1770185490.5, "started_at": 1770185495.0,
    },
    "history": [
        {
            "image_path": "/in/c.png", "status": "failed", "error": "cannot open /in/c.png: 2",
            "created_at": 1770185000.0, "started_at": 1770185001.0, "completed_at": 1770185002.0,
        },
        {"image_path": "/in/d.png", "status": "completed", "result": {"n": 1},
         "created_at": 1770184000.0, "completed_at": 1770184002.0},
    ],
    "is_processing": True, "should_stop": False, "saved_at": 1770185501.75,
}  # fmt: skip
INNER = ("flowlord-task", "flowlord-file", "queue-state", "bakta-job-init")
"""Formats of each kind that envelopes may hold: plain, of objects, whole, secret."""
WORKFLOW = """
[[phase]]
task = "csv2json:stations"
rule = "cron=0 5 * * * *&offset=-4h&retry_delay=30s"
retry = 3
template = "gs://valley/{HOUR_SLUG}/in.csv?output=gs://json/{YYYY}/{mm}/out-{TS}.json#{ts}"

[[phase]]
task = "sql-load"
depends_on = "csv2json:stations"
rule = "require={meta:file}&job=readings&files=gs://raw/*/*.json.gz&meta=depot:a,b|region:1,2"
template = "{meta:file}?table=readings&day={yyyy}-{mm}-{dd}"
"""


def messages(name: str) -> list[bytes]:
    """Return valid messages of a format, each as its producer sends it."""
    known = {
        "cloudevents": [example_event(entry.name) for entry in event_types() if entry.client],
        "flowlord-task": [TO_DO, DONE],
        "flowlord-file": [],
        "queue-state": [_STATE],
    } | SAMPLES
    lines = [orjson.dumps(each) for each in known[name]]
    for sample in DEMO:
        if sample.format == name or (name, sample.format) == ("flowlord-file", "gcs-notification"):
            lines += sample.path.read_bytes().splitlines()[:3]
    if name == PUSH:
        lines += [orjson.dumps(envelope(DONE)), orjson.dumps(envelope(_STATE))]
    return lines


def bodies(name: str) -> list[bytes]:
    """Return valid bodies of a format: single messages, NDJSON, and an array."""
    single = messages(name)
    together = b"\n".join(single[:4])
    return [*single, together, b"[" + b",".join(single[:3]) + b"]"]


def read_format(chosen: Format, body: bytes) -> bool:
    """Take a body by every way that a format has."""
    taken = 0
    for media_type in _BODIES:
        with refusing():
            events = decode_body(chosen, body, media_type, LIMITS)
            _check_events(events)
            assert events == decode_body(chosen, body, media_type, LIMITS), "not a function"
            _check_lenient(chosen, body, media_type, events)
            taken += 1
    for read in (decode_lines, decode_document, decode_message):
        decoded = read(chosen, body, LIMITS, "fuzz")
        assert decoded == read(chosen, body, LIMITS, "fuzz"), "not a function"
        for line in decoded:
            _check_line(line)
    return taken > 0


def _check_lenient(chosen: Format, body: bytes, media_type: str, events: list[NewEvent]) -> None:
    """Fail unless what is taken as a whole is taken line by line, with the same events."""
    if media_type in LINES and not chosen.whole:
        lines = decode_lines(chosen, body, LIMITS, "fuzz")
        assert [event for line in lines for event in line.events] == events, "lines differ"


def _check_line(line: Decoded) -> None:
    letter = line.dead_letter
    assert not (letter and line.events), "both events and a dead letter"
    assert letter is None or letter.reason != _INTERNAL, "a fault of the decoder"
    _check_events(line.events)


def _check_events(events: Sequence[NewEvent]) -> None:
    """Fail unless the events can be put into the log: in bounds, and of JSON."""
    for event in events:
        prepare(event)
        size = len(event.data)
        assert size <= LIMITS.event_bytes, f"an event of {size} bytes"
        assert len(event.subject.encode()) <= LIMITS.subject_bytes, "a long subject"
        assert isinstance(orjson.loads(event.data), dict), "a payload that is no object"


def read_push(body: bytes) -> bool:
    """Take an envelope, with a format that may be in it, and a message without its envelope."""
    inner = FORMATS[INNER[len(body) % len(INNER)]]
    taken = [read_format(push_format(each), body) for each in (None, inner)]
    return any(taken) | read_format(push_format(), wrap(dict(_headers(body)), body))


def read_cloudevents(body: bytes) -> bool:
    """Take CloudEvents in JSON, in batches and in lines."""
    taken = 0
    for read in (from_json_or_batch, from_ndjson):
        with refusing():
            _check_events(read(body, LIMITS))
            taken += 1
    return taken > 0


def read_binary_mode(raw: bytes) -> bool:
    """Take a CloudEvent whose attributes are headers: lines before an empty one."""
    head, _, body = raw.partition(b"\n\n")
    with refusing():
        _check_events([from_binary(dict(_headers(head)), body, LIMITS)])
        return True
    return False


def _headers(head: bytes) -> list[tuple[str, str]]:
    lines = (line.decode("latin-1").partition(": ") for line in head.split(b"\n")[:64])
    return [(name.lower(), value) for name, _, value in lines]


def binary_messages() -> list[bytes]:
    """Return CloudEvents in binary mode, as `read_binary_mode` reads them."""
    found = []
    for entry in event_types():
        if entry.client:
            event = example_event(entry.name)
            data = orjson.dumps(event.pop("data"))
            event["content-type"] = event.pop("datacontenttype")
            lines = [
                f"{name if name == 'content-type' else 'ce-' + name}: {value}"
                for name, value in event.items()
            ]
            found.append("\n".join(lines).encode() + b"\n\n" + data)
    return found


def read_workflow_file(raw: bytes) -> bool:
    """Read a workflow file; it never raises, and its findings are bounded."""
    found = read_workflow(raw)
    assert len(found.issues) <= ISSUES_MAX + 1, "more findings than there may be"
    assert len(found.phases) <= PHASES_MAX, "more phases than there may be"
    orjson.dumps(found.document())
    return bool(found.phases)


def read_text(raw: bytes) -> bool:
    """Read a text as a time, a moment, a duration, a cron expression: a value or a refusal."""
    text = raw.decode(errors="surrogateescape")
    taken = 0
    with suppress(ValueError):
        moment = parse_timestamp(text)
        assert parse_timestamp(format_timestamp(moment)) == moment, "a time that does not return"
        taken += 1
    for read in (Point.parse, parse_duration, _next_runs):
        with suppress(ValueError):
            read(text)
            taken += 1
    return taken > 0


def _next_runs(text: str) -> list[datetime]:
    return list(islice(Cron(text).runs(datetime(2026, 2, 4, tzinfo=UTC)), 3))


def read_pointer(raw: bytes) -> bool:
    """Redact an event: the type, a pointer and the payload are lines; the rest still is valid."""
    name, _, rest = raw.partition(b"\n")
    pointer, _, data = rest.partition(b"\n")
    with suppress(orjson.JSONDecodeError), refusing():
        if not isinstance(orjson.loads(data), dict):
            return False
        left = redacted(name.decode(errors="replace"), 1, data, pointer.decode(errors="replace"))
        assert left is None or isinstance(orjson.loads(left), dict)
        return left is not None
    return False


def _pointers() -> list[bytes]:
    events = [example_event(entry.name) for entry in event_types() if entry.client]
    return [
        f"{event['type']}\n/data/{name}\n".encode() + orjson.dumps(event["data"])
        for event in events
        for name in event["data"]
    ]


TEXTS = (
    *("2026-02-04T06:12:46.25Z", "2026-02-04", "-2h", "17", "30d", "12h", "forever", "1h30m"),
    *("0 5 * * * *", "*/7 1-5,9 * 2 MON", "@daily", "@every 1h", "TZ=Europe/Berlin 0 0 * * *"),
)


def _of_format(entry: Format) -> Target:
    run: Callable[[bytes], bool] = partial(read_format, entry)
    if entry.name == PUSH:
        run = read_push
    keys = sorted({key for line in messages(entry.name) for key in _keys(orjson.loads(line))})
    return Target(f"intake-{entry.name}", partial(bodies, entry.name), run, words=tuple(keys))


def _keys(value: object) -> set[str]:
    """Return every key in a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def _events_words() -> tuple[str, ...]:
    names = [entry.name for entry in event_types()]
    return (*names, "expectedversion", "correlationid", "causationid", "data_base64", "dataschema")


TARGETS = [
    *(_of_format(entry) for entry in FORMATS.values()),
    Target(
        "cloudevents-json", partial(bodies, "cloudevents"), read_cloudevents, words=_events_words()
    ),
    Target("cloudevents-binary", binary_messages, read_binary_mode, words=_events_words()),
    Target(
        "workflow-file",
        lambda: [WORKFLOW.encode()],
        read_workflow_file,
        json=False,
        words=("[[phase]]", "task", "rule", "template", "depends_on", "retry", "cron=", "files="),
    ),
    Target("texts", lambda: [text.encode() for text in TEXTS], read_text, json=False),
    Target("redaction", _pointers, read_pointer),
]
