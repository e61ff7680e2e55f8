"""A recorded event on its way back into a log, with the place and the times it had."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from domain.catalog import category_of, find_type, upcast_payload
from domain.envelope import SPECVERSION, extension_fault, is_text
from domain.errors import Fault, Invalid, NewerEvent, Undecodable
from domain.faults import is_valid, payload_faults
from domain.limits import INTEGER_MAX
from domain.prepared import event_key, row_tail
from domain.suggest import shorten
from domain.timestamps import parse_timestamp

_ATTRIBUTES: Final = frozenset(
    {
        *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"),
        *("position", "version", "recordedtime", "classversion", "logdigest"),
        *("logpayloadhash", "logremoved"),
    }
)
_DIGEST_BYTES: Final = 32
_REMOVED: Final = re.compile(r"([1-9][0-9]{0,18})-([1-9][0-9]{0,18}):([0-9a-f]{64})")
_new: Final = tuple.__new__


RemovedBefore = tuple[int, int, bytes]
"""The stretch of positions before an event whose events were removed, and its last digest."""


class HistoricEvent(NamedTuple):
    """A recorded event; texts, digests and times are those of its row in the log.

    ``extensions`` is JSON, ``tail`` what the hash of the row covers beside numbers. ``digest`` is
    what the line says the chain's digest was, None where it says nothing. ``payload_hash`` is that
    of what was recorded, also where ``data`` was redacted since.
    """

    stream: str
    type: str
    source: str
    id: str
    data: bytes
    time: int
    extensions: str | None
    position: int
    version: int
    recordedtime: int
    class_version: int
    key: bytes
    payload_hash: bytes
    tail: bytes
    digest: bytes | None
    removed: RemovedBefore | None = None


def read_historic(line: bytes) -> HistoricEvent:
    """Return the event of a line as `domain.cloudevents.to_line` writes it.

    Raises:
        Undecodable: the line is not JSON.
        NewerEvent: the event is one of a newer release.
        Invalid: it is no recorded event, or not one that its type allows.

    """
    try:
        obj = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from None
    if not _is_plain(obj):
        _check_closely(obj)
    id_, source, name, subject = obj["id"], obj["source"], obj["type"], obj["subject"]
    class_version = obj.get("classversion", 1)
    data = _data(line, obj, name, class_version)
    names = obj.keys() - _ATTRIBUTES
    extensions = _extensions(obj, names) if names else None
    stream = f"{category_of(name)}/{subject}"
    payload_hash = _digest(obj, "logpayloadhash") or sha256(data).digest()
    return _new(HistoricEvent, (
        stream,
        name,
        source,
        id_,
        data,
        _time(obj, "time"),
        extensions,
        obj["position"],
        obj["version"],
        _time(obj, "recordedtime"),
        class_version,
        event_key(source, id_),
        payload_hash,
        row_tail("", stream, name, source, id_, extensions or "", payload_hash),
        _digest(obj, "logdigest"),
        _removed(obj),
    ))  # fmt: skip


def _is_plain(obj: Any) -> bool:
    """Return whether texts and numbers are plainly right, as nearly all are."""
    if type(obj) is not dict or obj.get("specversion") != SPECVERSION or "classversion" in obj:
        return False
    get = obj.get
    id_, source, name, subject = get("id"), get("source"), get("type"), get("subject")
    position, version = get("position"), get("version")
    return (
        type(id_) is type(source) is type(name) is type(subject) is str
        and type(position) is type(version) is int
        and bool(id_ and source and subject)
        and (id_ + source + name + subject).isprintable()
        and 0 < position <= INTEGER_MAX
        and 0 < version <= INTEGER_MAX
    )


def _check_closely(obj: Any) -> None:
    """Raise what is wrong with the texts and numbers, if anything is."""
    if type(obj) is not dict or obj.get("specversion") != SPECVERSION:
        raise _invalid("not a structured CloudEvent", "")
    for name in ("id", "source", "type", "subject"):
        value = obj.get(name)
        if not (type(value) is str and value and is_text(value)):
            raise _invalid(f"{name} has to be text without control characters", f"/{name}")
    for name, number in (
        ("position", obj.get("position")),
        ("version", obj.get("version")),
        ("classversion", obj.get("classversion", 1)),
    ):
        if not (type(number) is int and 0 < number <= INTEGER_MAX):
            raise _invalid(f"{name} has to be a number from 1 on", f"/{name}")


def _invalid(detail: str, pointer: str) -> Invalid:
    return Invalid(detail, errors=[Fault(detail, pointer)])


def _time(obj: Mapping[str, Any], name: str) -> int:
    try:
        return parse_timestamp(obj[name])
    except (KeyError, TypeError, ValueError):
        raise _invalid(f"{name} has to be an RFC 3339 time", f"/{name}") from None


def _removed(obj: Mapping[str, Any]) -> RemovedBefore | None:
    text = obj.get("logremoved")
    if text is None:
        return None
    found = _REMOVED.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise _invalid("logremoved has to be FIRST-LAST:DIGEST", "/logremoved")
    return int(found[1]), int(found[2]), bytes.fromhex(found[3])


def _digest(obj: Mapping[str, Any], name: str) -> bytes | None:
    text = obj.get(name)
    if text is None:
        return None
    try:
        digest = bytes.fromhex(text)
    except (TypeError, ValueError):
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise _invalid(f"{name} has to be 64 hexadecimal digits", f"/{name}")
    return digest


def _data(line: bytes, obj: Mapping[str, Any], name: str, class_version: int) -> bytes:
    """Return the stored bytes of the payload, which is valid for its type."""
    payload = obj.get("data")
    entry = find_type(name)
    if entry is None or class_version > entry.class_version:
        raise NewerEvent(f"{shorten(name)} of class version {class_version} is not known here")
    if type(payload) is not dict:
        raise _invalid("data has to be a JSON object", "/data")
    lifted: object = payload
    if class_version < entry.class_version:
        try:
            lifted = upcast_payload(entry.model, class_version, payload)
        except Exception as error:
            detail = f"data cannot be lifted: {type(error).__name__}: {error}"
            raise _invalid(detail, "/data") from error
    if not is_valid(entry.model, lifted):
        faults = payload_faults(entry.model, lifted)
        raise Invalid(faults[0].detail, errors=faults)
    data = orjson.dumps(payload)
    return data if line.endswith(data + b"}") else _as_written(line, obj, data)


def _as_written(line: bytes, obj: Mapping[str, Any], data: bytes) -> bytes:
    """Return the payload as it stands in the line, where that can be told, else as it is encoded.

    What somebody else recorded need not be in the form that we would have given it.
    """
    rest = {name: value for name, value in obj.items() if name != "data"}
    start = orjson.dumps(rest)[:-1] + b',"data":'
    line = line.rstrip()
    return line[len(start) : -1] if line.startswith(start) else data


def _extensions(obj: Mapping[str, Any], names: Set[str]) -> str:
    extensions = {name: obj[name] for name in names}
    for name, value in extensions.items():
        if detail := extension_fault(name, value):
            raise _invalid(detail, f"/{name}")
    return orjson.dumps(extensions, option=orjson.OPT_SORT_KEYS).decode()
