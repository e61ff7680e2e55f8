"""The input formats, and the two ways of decoding: a strict body, and lenient lines.

A strict body is accepted as a whole or refused as a whole, with every fault and its place. Of
lenient lines each is a unit of its own: it becomes its events or one dead letter, and is never in
the way of the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from daemon.eventlog.requests import KEPT_BYTES_MAX, DeadLetter
from daemon.intake.alertmanager import decode_alertmanager
from daemon.intake.bakta_course import settle_bakta
from daemon.intake.bakta_messages import BAKTA
from daemon.intake.flowlord_file import SOURCE as FILES
from daemon.intake.flowlord_file import decode_file
from daemon.intake.flowlord_task import decode_task
from daemon.intake.gcs_notification import decode_pushed, is_pushed
from daemon.intake.media import BATCH, LINES, PLAIN, STRUCTURED, parse_media_type
from daemon.intake.message import EventMaker, Options
from daemon.intake.openlineage import decode_openlineage, settle_openlineage
from daemon.intake.pubsub_push import key_of, mask_envelope, read_envelope
from daemon.intake.queue_difference import settle_state
from daemon.intake.queue_state import decode_state
from daemon.intake.secrets import mask_bytes, mask_path, mask_text
from domain.cloudevents import from_structured
from domain.errors import (
    ChronicledError,
    Fault,
    Invalid,
    NotFound,
    TooLarge,
    Undecodable,
    UnsupportedMediaType,
)
from domain.events import NewEvent
from domain.faults import FAULTS_MAX, raise_faults
from domain.limits import Limits
from domain.suggest import did_you_mean, shorten

if TYPE_CHECKING:
    from daemon.eventlog.transaction import Transaction

LINE_FACTOR: Final = 8
"""A line longer than so many times the largest event is not looked into: escapes make the text of
an event longer than what it says, but not by so much."""

DETAIL_MAX: Final = 1_000
"""How long the detail of a dead letter may be (characters)."""

_BOM: Final = b"\xef\xbb\xbf"
_MASKED_BYTES_MAX: Final = KEPT_BYTES_MAX + 4_096
"""So much of a long line is masked: what is kept of it, and a secret that the end would cut."""

_DECODER_FAULT: Final = "A line of format %s met a fault of the decoder"

_logger = logging.getLogger(__name__)


Settle = Callable[["Transaction", Sequence[NewEvent]], list[NewEvent]]
"""Makes of decoded events what is to be recorded beside what the log has."""


@dataclass(frozen=True, slots=True)
class Format:
    """An input format: its name, what it is, and the events that one decoded message implies.

    Messages of a ``secret`` format carry secrets of no known shape: of one that cannot be taken
    only the digest and the reason are kept. ``settle`` is for what a message alone does not say,
    such as whether it is news; it is run in the transaction that records the events. ``key`` gives
    what a message is known by to who delivers it: what came by the same key before adds nothing.
    ``kept`` gives the text that a dead letter is made of, and its format, where that is not the
    message as it came. Messages of a format with ``cloudevents`` also come as such. A file of
    a ``whole`` format is one message, which its producer writes anew: it is not read by lines.
    """

    name: str
    summary: str
    decode: Callable[[Mapping[str, Any], Options], list[NewEvent]]
    secret: bool = False
    whole: bool = False
    settle: Settle | None = None
    key: Callable[[Mapping[str, Any]], str] | None = None
    kept: Callable[[Format, bytes], tuple[Format, bytes]] | None = None
    cloudevents: bool = False


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one line became: its events, or a dead letter. ``line`` counts from 0."""

    line: int
    raw: bytes
    events: tuple[NewEvent, ...] = ()
    dead_letter: DeadLetter | None = None
    key: str = ""


def _decode_cloudevent(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the event itself; its own ``source`` stands, whatever the options say."""
    return [from_structured(fields, options.limits)]


def _decode_push(
    inner: Format | None, fields: Mapping[str, Any], options: Options
) -> list[NewEvent]:
    """Return the events of what an envelope holds."""
    envelope = read_envelope(fields)
    _check_length(envelope.data, options.limits)
    if is_pushed(envelope.attributes) and (inner is None or inner.decode is decode_file):
        resource = _load(envelope.data) if envelope.data else {}
        make = EventMaker(options.source or FILES, options.limits)
        return [decode_pushed(envelope.attributes, _object(resource), make)]
    if inner is None:
        raise_faults([Fault("its attributes are not of an object; inner= has to name its format")])
        return []
    return _decode_message(inner, _load(envelope.data), options)


def _kept_push(inner: Format | None, push: Format, raw: bytes) -> tuple[Format, bytes]:
    """Return the message inside, which can be read by itself, else the envelope."""
    with suppress(ChronicledError):
        envelope = read_envelope(_object(_load(raw)))
        if inner is not None and envelope.data and not is_pushed(envelope.attributes):
            return inner, envelope.data
    return push, mask_envelope(raw[:_MASKED_BYTES_MAX])


PUSH: Final = "pubsub-push"


def push_format(inner: Format | None = None) -> Format:
    """Return the format of envelopes that hold messages of another one."""
    return Format(
        PUSH,
        "Google Cloud Pub/Sub push envelopes",
        partial(_decode_push, inner),
        secret=inner is not None and inner.secret,
        settle=None if inner is None else inner.settle,
        key=key_of,
        kept=partial(_kept_push, inner),
    )


FORMATS: Final[Mapping[str, Format]] = {
    entry.name: entry
    for entry in (
        Format("cloudevents", "CloudEvents 1.0, structured", _decode_cloudevent, cloudevents=True),
        Format("flowlord-task", "flowlord task messages, to do and done", decode_task),
        Format("flowlord-file", "messages of flowlord's file topic, of either kind", decode_file),
        Format(
            "gcs-notification",
            "Google Cloud Storage object notifications",
            decode_file,
            cloudevents=True,
        ),
        Format(
            "openlineage",
            "OpenLineage run, job and dataset events",
            decode_openlineage,
            settle=settle_openlineage,
        ),
        Format("alertmanager", "Prometheus Alertmanager webhook messages", decode_alertmanager),
        push_format(),
        Format(
            "queue-state",
            "the whole state of a processing queue",
            decode_state,
            whole=True,
            settle=settle_state,
        ),
        *(Format(*message, secret=True, settle=settle_bakta) for message in BAKTA),
    )
}


def find_format(name: str) -> Format:
    """Return the format of this name.

    Raises:
        NotFound: there is none; the detail names the nearest.

    """
    found = FORMATS.get(name)
    if found is None:
        raise NotFound(
            f"There is no format {shorten(mask_path(name))}; {did_you_mean(name, FORMATS)}"
        )
    return found


def decode_body(
    format: Format | str,  # noqa: A002 - the word of the interface
    body: bytes,
    content_type: str | None,
    limits: Limits,
    source: str | None = None,
) -> list[NewEvent]:
    """Return the events of a whole body: one object, an array, or NDJSON, by its content type.

    Raises:
        UnsupportedMediaType: the content type is none that this format has.
        Undecodable: the body is not the JSON that its content type says.
        TooLarge: the body or the events made of it are more than a batch may have.
        Invalid: messages are not valid; ``errors`` names them by index and pointer.

    """
    chosen = find_format(format) if isinstance(format, str) else format
    media_type = _media_type(chosen, content_type)
    if len(body) > limits.batch_bytes:
        raise TooLarge(f"The body is over {limits.batch_bytes} bytes.")
    messages = _split(body) if media_type in LINES else _whole(body, media_type)
    options = _options(limits, source)
    events: list[NewEvent] = []
    faults: list[Fault] = []
    for index, message in enumerate(messages):
        try:
            events += _decode_message(chosen, message, options)
        except ChronicledError as error:
            faults += [replace(fault, index=index) for fault in _faults(error)]
        if len(faults) >= FAULTS_MAX:
            break
        if len(events) > limits.batch_events:
            raise TooLarge(f"The body has more than {limits.batch_events} events.")
    raise_faults(faults[:FAULTS_MAX])
    return events


def decode_lines(
    format: Format | str,  # noqa: A002 - the word of the interface
    body: bytes,
    limits: Limits,
    origin: str,
    source: str | None = None,
) -> list[Decoded]:
    """Return, for each line that is not blank, its events or its dead letter.

    A line ends with LF or CRLF or with the body. Whatever the bytes are, nothing is raised.

    Raises:
        NotFound: there is no such format.
        Invalid: the ``source`` is none; no line could become events with it.

    """
    chosen = find_format(format) if isinstance(format, str) else format
    options = _options(limits, source)
    return [
        _decode_line(chosen, number, raw, options, origin)
        for number, raw in enumerate([body] if chosen.whole else body.split(b"\n"))
        if not _is_blank(raw)
    ]


def decode_document(
    format: Format | str,  # noqa: A002 - the word of the interface
    body: bytes,
    limits: Limits,
    origin: str,
    source: str | None = None,
) -> list[Decoded]:
    """Return, for each message of a body of any kind, its events or its dead letter.

    By its content it is one JSON object, an array of messages, or NDJSON; what is none of these is
    one dead letter. Whatever the bytes are, nothing is raised.

    Raises:
        NotFound: there is no such format.
        Invalid: the ``source`` is none.

    """
    try:
        found = _load(body)
    except Undecodable:
        if _begins_with_line(body):
            return decode_lines(format, body, limits, origin, source)
        found = None
    chosen = find_format(format) if isinstance(format, str) else format
    options = _options(limits, source)
    if _is_blank(body):
        return []
    if not isinstance(found, list):
        return [_decode_line(chosen, 0, body, options, origin)]
    return [
        _decode_line(chosen, number, orjson.dumps(message), options, origin)
        for number, message in enumerate(found)
    ]


def _begins_with_line(body: bytes) -> bool:
    """Return whether the first line that is not blank is JSON by itself."""
    first = next((line for line in body.split(b"\n") if not _is_blank(line)), b"")
    try:
        _load(first)
    except Undecodable:
        return False
    return True


def decode_message(
    chosen: Format, body: bytes, limits: Limits, origin: str, source: str | None = None
) -> list[Decoded]:
    """Return what a body that is one message became, in the lenient way: events or a dead letter.

    Raises:
        Invalid: the ``source`` is none.

    """
    return [_decode_line(chosen, 0, body, _options(limits, source), origin)]


def make_dead_letter(chosen: Format, raw: bytes, error: ChronicledError, origin: str) -> DeadLetter:
    """Return the dead letter of bytes that met this error: its code, what it says, no secrets."""
    if chosen.kept is not None and not chosen.secret:
        inside, text = chosen.kept(chosen, raw)
        if inside is not chosen:
            return make_dead_letter(inside, text, error, origin)
    else:
        text = raw
    if chosen.secret:
        return DeadLetter(chosen.name, raw, error.code, "", origin, b"")
    masked = mask_bytes(text[:_MASKED_BYTES_MAX])
    kept = None if masked == raw else masked
    detail = mask_text(error.detail)[:DETAIL_MAX]
    return DeadLetter(chosen.name, raw, error.code, detail, origin, kept)


def _options(limits: Limits, source: str | None) -> Options:
    if source is not None and (not source or " " in source or not source.isprintable()):
        fault = Fault(f"source has to be a URI-reference, not {shorten(source)}")
        raise Invalid(fault.detail, errors=[fault])
    return Options(limits, source)


def _decode_line(
    chosen: Format, number: int, line: bytes, options: Options, origin: str
) -> Decoded:
    raw = line.removesuffix(b"\r")
    key = ""
    try:
        if not chosen.whole:
            _check_length(raw, options.limits)
        message = _load(raw)
        if chosen.key is not None and isinstance(message, dict):
            key = chosen.key(message)
        events = _decode_message(chosen, message, options)
    except ChronicledError as error:
        return Decoded(number, raw, (), make_dead_letter(chosen, raw, error, origin))
    except Exception:
        # A fault of ours in one line must not stop the lines behind it, nor lose it.
        # What it says of a format with secrets may quote one.
        said = not chosen.secret
        _logger.exception(_DECODER_FAULT, chosen.name, exc_info=said)
        internal = ChronicledError("The decoder failed on this line; see the daemon's log.")
        return Decoded(number, raw, (), make_dead_letter(chosen, raw, internal, origin))
    return Decoded(number, raw, tuple(events), key=key)


def _check_length(raw: bytes, limits: Limits) -> None:
    if len(raw) > LINE_FACTOR * limits.event_bytes:
        raise TooLarge(f"The line has {len(raw)} bytes, more than any event may have.")


def _decode_message(chosen: Format, message: object, options: Options) -> list[NewEvent]:
    return chosen.decode(_object(message), options)


def _object(message: object) -> Mapping[str, Any]:
    if not isinstance(message, dict):
        fault = Fault("a message has to be a JSON object")
        raise Invalid(fault.detail, errors=[fault])
    return message


def _media_type(chosen: Format, content_type: str | None) -> str:
    """Return the media type, after checking that the format has it and that it is UTF-8."""
    media_type = parse_media_type(content_type)
    taken = {PLAIN, *LINES}
    if chosen.cloudevents:
        taken |= {STRUCTURED, BATCH}
    if media_type not in taken:
        said = f"The content type {media_type[:80]!r}" if media_type else "No content type"
        raise UnsupportedMediaType(f"{said} is read as {chosen.name}; send {PLAIN}.")
    return media_type


def _whole(body: bytes, media_type: str) -> list[object]:
    """Return the messages of a body that is one JSON value."""
    found = _load(body)
    if isinstance(found, list):
        if media_type == STRUCTURED:
            raise Undecodable(f"The content type {STRUCTURED} is one object, not an array.")
        return found
    if media_type == BATCH:
        raise Undecodable(f"The content type {BATCH} is an array of objects.")
    return [found]


def _split(body: bytes) -> Iterator[object]:
    """Yield the message of each line that is not blank."""
    lines = (line for line in body.split(b"\n") if not _is_blank(line))
    for index, line in enumerate(lines):
        try:
            yield _load(line)
        except Undecodable as error:
            fault = Fault(error.detail, index=index, code=error.code)
            raise Undecodable(f"message {index}: {error.detail}", errors=[fault]) from None


def _is_blank(line: bytes) -> bool:
    return not line.removeprefix(_BOM).strip()


def _load(text: bytes) -> object:
    """Return the JSON value of a text; a byte order mark before it is skipped."""
    text = text.removeprefix(_BOM)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Undecodable(_why(text, error)) from None


def _why(text: bytes, error: orjson.JSONDecodeError) -> str:
    """Return why a text is not JSON, in the words that help most."""
    if not text.strip():
        return "empty"
    if b"\0" in text:
        return f"holds NUL bytes, the first at byte {text.index(0)}"
    try:
        text.decode()
    except UnicodeDecodeError as fault:
        return f"not UTF-8, from byte {fault.start} on"
    return f"not JSON: {error}"


def _faults(error: ChronicledError) -> list[Fault]:
    return list(error.errors) or [Fault(error.detail, code=error.code)]
