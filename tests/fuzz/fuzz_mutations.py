"""Seeded mutations of inputs: of their bytes, and of the values and keys of their JSON."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import orjson

LARGEST = 256 * 1024
"""No mutation is longer (bytes)."""
_BYTES = (0, 1, 9, 10, 13, 32, 34, 44, 45, 48, 57, 91, 92, 93, 123, 125, 127, 128, 192, 255)
_TEXTS = (
    *("", " ", "\x00", "\n", "\u2028", "a\u0301", "😀", "\ufeff", "%", "%00", "%E2%98", "..", "/"),
    *("../../etc/passwd", "gs://", "file:///", "0", "-1", "1e999", "true", "null", "x" * 5000),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-02-30T00:00:00Z", "24:00"),
    *("2026-02-04T06:12:46+23:59", "[]", "{}", '"', "'", "\\", "a" * 64, "é" * 300, "=", "&", ":"),
    *("{0}", "${schema}", "password=hunter22", "-----BEGIN PRIVATE KEY-----", "\udcff"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.0, -0.0, 0.5, 1e-300, 1e300, -1e18, 2**31, 2**53, 2**63 - 1),
    *(-(2**63), 2**63, 2**64 - 1, [], {}, [None], [[]], {"": None}, [0] * 40, {"a": {"a": {}}}),
)


class Mutator:
    """Makes inputs out of seeds; the same generator makes the same ones."""

    def __init__(
        self, generator: random.Random, seeds: Sequence[bytes], words: Sequence[str] = ()
    ) -> None:
        self._random = generator
        self._seeds = list(seeds)
        self._words = list(words)

    def next(self, *, json: bool) -> bytes:
        """Return a mutation of one of the seeds; half of them of its JSON, where it is such."""
        return self.mutate(self._random.choice(self._seeds), json=json)

    def mutate(self, seed: bytes, *, json: bool) -> bytes:
        """Return a mutation of an input."""
        rounds = 1 + min(int(self._random.expovariate(0.7)), 8)
        for _ in range(rounds):
            changed = self._in_json(seed) if json and self._random.random() < 0.7 else None
            seed = changed if changed is not None else self._in_bytes(seed)
        return seed[:LARGEST]

    # -- bytes ----------------------------------------------------------------------------------

    def _in_bytes(self, seed: bytes) -> bytes:
        change = self._random.choice(self._changes())
        return bytes(change(bytearray(seed), *self._stretch(len(seed))))

    def _changes(self) -> list[Callable[[bytearray, int, int], bytearray]]:
        return [self._flip, self._put, self._insert, self._cut, self._double, self._end, self._join]

    def _stretch(self, length: int) -> tuple[int, int]:
        """Return where something begins and ends, mostly short."""
        start = self._random.randrange(length + 1)
        return start, min(start + int(self._random.expovariate(0.05)) + 1, length)

    def _flip(self, raw: bytearray, start: int, end: int) -> bytearray:
        if start < end:
            raw[start] ^= 1 << self._random.randrange(8)
        return raw

    def _put(self, raw: bytearray, start: int, end: int) -> bytearray:
        for at in range(start, min(end, start + self._random.choice((1, 1, 2, 4, 8)))):
            raw[at] = self._random.choice(_BYTES)
        return raw

    def _insert(self, raw: bytearray, start: int, _: int) -> bytearray:
        text = self._text() if self._random.random() < 0.7 else ""
        raw[start:start] = text.encode(errors="surrogateescape") or self._random.randbytes(3)
        return raw

    def _cut(self, raw: bytearray, start: int, end: int) -> bytearray:
        del raw[start:end]
        return raw

    def _double(self, raw: bytearray, start: int, end: int) -> bytearray:
        raw[end:end] = raw[start:end] * self._random.choice((1, 1, 2, 50))
        return raw

    def _end(self, raw: bytearray, start: int, _: int) -> bytearray:
        return raw[:start]

    def _join(self, raw: bytearray, start: int, _: int) -> bytearray:
        other = self._random.choice(self._seeds)
        return raw[:start] + other[self._random.randrange(len(other) + 1) :]

    # -- JSON -----------------------------------------------------------------------------------

    def _in_json(self, seed: bytes) -> bytes | None:
        """Return the input with something in its JSON changed; None where it is not such."""
        lines = seed.split(b"\n")
        at = self._random.randrange(len(lines))
        try:
            value = orjson.loads(lines[at])
        except orjson.JSONDecodeError:
            return None
        holder = [value]
        for _ in range(self._random.choice((1, 1, 2, 5))):
            self._change(holder)
        try:
            lines[at] = orjson.dumps(holder[0])
        except (orjson.JSONEncodeError, RecursionError):
            return None
        return b"\n".join(lines)

    def _change(self, holder: list[Any]) -> None:
        """Change something somewhere in what the holder has."""
        place: Any = holder
        key: Any = 0
        while isinstance(place[key], dict | list) and place[key] and self._random.random() < 0.8:
            place = place[key]
            key = self._random.choice(list(place) if isinstance(place, dict) else range(len(place)))
        what = self._random.random()
        if isinstance(place, dict) and what < 0.15:
            del place[key]
        elif isinstance(place, dict) and what < 0.3:
            place[self._known()] = place[key]
        elif isinstance(place, list) and place is not holder and what < 0.3:
            place.insert(key, place[key])
        else:
            place[key] = self._value(place[key])

    def _value(self, old: Any) -> Any:
        what = self._random.random()
        if isinstance(old, str) and what < 0.4:
            raw = self._in_bytes(old.encode(errors="surrogatepass"))
            return raw.decode(errors="replace")
        if isinstance(old, int | float) and what < 0.4:
            return old + self._random.choice((1, -1, 0.5, 10**6))
        if what < 0.6:
            return self._text()
        if what < 0.65:
            return self._nested(old)
        # A copy: it may be changed in its turn.
        return deepcopy(self._random.choice(_VALUES))

    def _nested(self, old: Any) -> Any:
        for _ in range(self._random.choice((2, 20, 200))):
            old = [old] if self._random.random() < 0.5 else {"a": old}
        return old

    def _text(self) -> str:
        return self._known() if self._random.random() < 0.3 else self._random.choice(_TEXTS)

    def _known(self) -> str:
        return self._random.choice(self._words) if self._words else "a"
