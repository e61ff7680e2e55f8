"""File patterns as Go's ``filepath.Match`` reads them on Unix, over the whole of a path.

``*`` and ``?`` never cross a ``/``; there is no ``**`` and there are no braces. It is matched the
way Go does it, from left to right and each part at the first place where it fits, because that is
not always what a regular expression would find: a class may take a ``/``, and nothing goes back
to choose another place for an earlier part. A malformed pattern is refused whatever the path is;
Go calls one malformed only where it gets so far, and says that there is no match elsewhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

_SEPARATOR: Final = 0x2F
_RUNE_ERROR: Final = 0xFFFD
_SPECIAL: Final = frozenset(b"*?[\\")


class _Class(NamedTuple):
    """A class of characters, such as ``[a-z_]`` or ``[^/]``."""

    negated: bool
    ranges: tuple[tuple[int, int], ...]

    def has(self, rune: int) -> bool:
        return any(low <= rune <= high for low, high in self.ranges) != self.negated


_Item = bytes | _Class | None
"""Literal bytes, a class, or None for any one character but ``/``."""


class _Chunk(NamedTuple):
    """A stretch of a pattern without a star, and whether a star is in front of it."""

    star: bool
    items: tuple[_Item, ...]

    def fit(self, name: bytes, start: int) -> int | None:
        """Return where what fits from ``start`` on ends, None where nothing does."""
        at = start
        for item in self.items:
            if isinstance(item, bytes):
                if not name.startswith(item, at):
                    return None
                at += len(item)
                continue
            if at >= len(name) or (item is None and name[at] == _SEPARATOR):
                return None
            rune, width = _decode(name, at)
            if item is not None and not item.has(rune):
                return None
            at += width
        return at


class Pattern:
    """A pattern that was read and is well formed."""

    def __init__(self, text: str) -> None:
        """Read a pattern.

        Raises:
            ValueError: it is malformed; the text says what is wrong.

        """
        self._chunks = _Reader(_encode(text)).chunks()

    def matches(self, path: str) -> bool:
        """Return whether the whole path matches."""
        name, at = _encode(path), 0
        for number, chunk in enumerate(self._chunks):
            last = number == len(self._chunks) - 1
            if chunk.star and not chunk.items:
                return name.find(b"/", at) < 0
            end = _place(chunk, name, at, last=last)
            if end is None:
                return False
            at = end
        return at == len(name)


def matches(pattern: str, path: str) -> bool:
    """Return whether a pattern matches the whole of a path.

    Raises:
        ValueError: the pattern is malformed, whatever the path is.

    """
    return _read(pattern).matches(path)


def _place(chunk: _Chunk, name: bytes, start: int, *, last: bool) -> int | None:
    """Return where a chunk ends at the first place that will do; the last has to reach the end.

    A star skips bytes, not characters, as it does in Go.
    """
    at = start
    while True:
        end = chunk.fit(name, at)
        if end is not None and (not last or end == len(name)):
            return end
        if not chunk.star or at >= len(name) or name[at] == _SEPARATOR:
            return None
        at += 1


class _Reader:
    """Reads the text of a pattern, from left to right."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def chunks(self) -> tuple[_Chunk, ...]:
        """Return the pattern in stretches between stars."""
        chunks = []
        while self._at < len(self._text):
            star = False
            while self._next() == b"*":
                self._at += 1
                star = True
            chunks.append(_Chunk(star, self._items()))
        return tuple(chunks)

    def _items(self) -> tuple[_Item, ...]:
        items: list[_Item] = []
        while (following := self._next()) not in (b"", b"*"):
            if following == b"?":
                self._at += 1
                items.append(None)
            elif following == b"[":
                self._at += 1
                items.append(self._class())
            else:
                items.append(self._literal())
        return tuple(items)

    def _literal(self) -> bytes:
        """Return the bytes up to the next special character, without their backslashes."""
        taken = bytearray()
        while (following := self._next()) and (following == b"\\" or following[0] not in _SPECIAL):
            if following == b"\\":
                self._at += 1
                if not self._next():
                    raise ValueError("a backslash at the end escapes nothing")
            taken += self._next()
            self._at += 1
        return bytes(taken)

    def _class(self) -> _Class:
        negated = self._next() == b"^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while not (ranges and self._next() == b"]"):
            low = high = self._member()
            if self._next() == b"-":
                self._at += 1
                high = self._member()
            ranges.append((low, high))
        self._at += 1
        return _Class(negated, tuple(ranges))

    def _member(self) -> int:
        """Return one end of a range; a class has to go on after it."""
        following = self._next()
        if following in (b"-", b"]"):
            raise ValueError(f"{following.decode()!r} in a class needs a backslash in front")
        self._at += following == b"\\"
        if not self._next():
            raise ValueError("a class is not closed by ']'")
        rune, width = _decode(self._text, self._at)
        if rune == _RUNE_ERROR and width == 1:
            raise ValueError("a class holds what is no character")
        self._at += width
        if not self._next():
            raise ValueError("a class is not closed by ']'")
        return rune

    def _next(self) -> bytes:
        return self._text[self._at : self._at + 1]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(text: bytes, at: int) -> tuple[int, int]:
    """Return the character at a place and its width; bytes that are none count one by one."""
    first = text[at]
    if first < 0x80:
        return first, 1
    width = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    try:
        return ord(text[at : at + width].decode("utf-8")), width
    except UnicodeDecodeError:
        return _RUNE_ERROR, 1


@lru_cache(maxsize=4_096)
def _read(pattern: str) -> Pattern:
    return Pattern(pattern)
