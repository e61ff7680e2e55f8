"""What every producer format shares: reading the fields of a message, and making events of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import orjson

from daemon.intake.secrets import MASK, mask_text, mask_value, may_hold_secrets
from domain.cloudevents import from_structured
from domain.errors import ChronicledError, Fault
from domain.events import NewEvent
from domain.faults import raise_faults
from domain.limits import INTEGER_MAX, Limits
from domain.timestamps import MICROSECONDS, format_timestamp, is_missing, parse_timestamp


@dataclass(frozen=True, slots=True)
class Options:
    """How to decode: the limits, and the ``source`` to use in place of the format's own."""

    limits: Limits = field(default_factory=Limits)
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A time field: its canonical text, and microseconds where the text can be read.

    ``text`` is empty where the message has no time, or a zero one (year 1); RFC 3339 in UTC
    without needless zeros where it can be read; else the text as it came.
    """

    text: str = ""
    time: int | None = None

    @property
    def unreadable(self) -> bool:
        """Whether there is a text that is no RFC 3339 time."""
        return bool(self.text) and self.time is None


class Message:
    """The fields of one decoded message, secrets masked; reading notes what is wrong.

    ``null`` says the same as a field that is not there. Every other value of a wrong JSON type is
    a fault. Faults are raised together by `check`.
    """

    def __init__(
        self, fields: Mapping[str, Any], faults: list[Fault] | None = None, place: str = ""
    ) -> None:
        self._fields = fields
        self._place = place
        self._read: set[str] = set()
        self.faults: list[Fault] = [] if faults is None else faults
        try:
            self._has_secrets = may_hold_secrets(orjson.dumps(fields))
        except orjson.JSONEncodeError:
            raise_faults([Fault("nested too deeply")])

    def text(self, name: str, *, required: bool = False) -> str:
        """Return a text, empty where there is none."""
        text = self.raw_text(name)
        if self._has_secrets:
            text = mask_text(text)
        if required and not text and not self._faulty(name):
            self.refuse(name, "required, and not empty")
        return text

    def raw_text(self, name: str) -> str:
        """Return a text in which secrets are still to be masked."""
        value = self._take(name)
        if value is None or isinstance(value, str):
            return value or ""
        self.refuse(name, f"has to be a text, not {_json_type(value)}")
        return ""

    def moment(self, name: str) -> Moment:
        """Return a time."""
        text = self.text(name)
        try:
            time = parse_timestamp(text)
        except ValueError:
            return Moment(text)
        return Moment() if is_missing(time) else Moment(_canonical(time), time)

    def count(self, name: str, *, as_text: bool = False) -> int | None:
        """Return a count; ``as_text`` also takes its decimal digits."""
        value = self._take(name)
        if as_text and isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
            value = int(value)
        if value is None or (type(value) is int and 0 <= value <= INTEGER_MAX):
            return value
        self.refuse(name, f"has to be a whole number from 0 to {INTEGER_MAX}")
        return None

    def number(self, name: str, *, required: bool = False) -> int | float | None:
        """Return a number, whole or not."""
        value = self._take(name)
        if type(value) in (int, float):
            return value  # type: ignore[no-any-return]
        if value is not None or required:
            self.refuse(name, f"has to be a number, not {_json_type(value)}")
        return None

    def value(self, name: str) -> Any:
        """Return a value of any JSON type."""
        value = self._take(name)
        return _masked(name, value) if self._has_secrets else value

    def flag(self, name: str) -> bool:
        """Return a boolean, false where there is none."""
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.refuse(name, f"has to be true or false, not {_json_type(value)}")
        return False

    def texts(self, name: str) -> dict[str, str]:
        """Return an object whose values are texts, empty where there is none."""
        value = self._take(name)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
            return _masked(name, value) if self._has_secrets else value
        self.refuse(name, "has to be an object of texts")
        return {}

    def parts(self, name: str) -> list[Message]:
        """Return the objects of an array as messages of their own; faults are noted here."""
        value = self._take(name)
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return [self._part(f"{name}/{place}", one) for place, one in enumerate(value)]
        self.refuse(name, "has to be an array of objects, and not empty")
        return []

    def part(self, name: str) -> Message:
        """Return an object as a message of its own; faults are noted here."""
        value = self._take(name)
        if isinstance(value, dict):
            return self._part(name, value)
        self.refuse(name, "has to be an object")
        return self._part(name, {})

    def rest(self) -> dict[str, Any]:
        """Return every field that was not read."""
        rest = {name: one for name, one in self._fields.items() if name not in self._read}
        if not self._has_secrets:
            return rest
        return {name: _masked(name, one) for name, one in rest.items()}

    def refuse(self, name: str, detail: str) -> None:
        """Note what is wrong with a field."""
        self.faults.append(Fault(f"{self._place}{name}: {detail}", pointer=self._pointer(name)))

    def check(self) -> None:
        """Raise every fault that was found so far.

        Raises:
            Invalid: there is at least one.

        """
        raise_faults(self.faults)

    def _part(self, name: str, fields: Mapping[str, Any]) -> Message:
        return Message(fields, self.faults, f"{self._place}{name}/")

    def _take(self, name: str) -> Any:
        self._read.add(name)
        return self._fields.get(name)

    def _faulty(self, name: str) -> bool:
        return any(fault.pointer == self._pointer(name) for fault in self.faults)

    def _pointer(self, name: str) -> str:
        return f"/{self._place}{name}"


@dataclass(frozen=True, slots=True)
class EventMaker:
    """Makes valid events of one message: same source, same extensions, same limits."""

    source: str
    limits: Limits
    extensions: Mapping[str, str] = field(default_factory=dict)

    def event(
        self, type_: str, subject: str, id_: str, time: int | None, payload: Mapping[str, Any]
    ) -> NewEvent:
        """Return an event; fields of the payload that say nothing are left out.

        What makes an event valid is asked of the domain, as for an event that a client sends. The
        faults it finds have no pointer here: their place is in the event, not in the message.

        Raises:
            Invalid: the subject, the event or its source is not valid, or over a limit.

        """
        said = {name: one for name, one in payload.items() if one not in (None, "", {}, [])}
        envelope = {
            "specversion": "1.0",
            "id": id_,
            "source": self.source,
            "type": type_,
            "subject": subject,
            "data": said,
            **self.extensions,
        }
        try:
            event = from_structured(envelope, self.limits)
        except ChronicledError as error:
            raise_faults(
                [
                    replace(fault, detail=f"its {type_} event: {fault.detail}", pointer="")
                    for fault in error.errors
                ]
            )
            raise
        return event._replace(time=time)


def identity(*parts: str | int) -> str:
    """Return a short digest of these values; other values, or another order, give another."""
    return blake2b(orjson.dumps(parts), digest_size=16).hexdigest()


def _masked(name: str, value: Any) -> Any:
    """Return a value with its secrets masked; ``name`` is the field that holds it."""
    if isinstance(value, dict):
        return {key: _masked(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked(name, one) for one in value]
    if isinstance(value, str):
        return mask_value(name, value)
    if type(value) in (int, float) and mask_value(name, "0") == MASK:
        return MASK
    return value


def _canonical(time: int) -> str:
    text = format_timestamp(time)
    return f"{text[:-1].rstrip('0')}Z" if time % MICROSECONDS else text


def _json_type(value: object) -> str:
    names = {
        type(None): "null",
        bool: "a boolean",
        str: "a text",
        int: "a number",
        float: "a number",
        list: "an array",
    }
    return names.get(type(value), "an object")
