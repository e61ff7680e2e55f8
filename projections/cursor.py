"""Cursors of lists: where the next page starts, bound to the list, its filters and its order.

A cursor is the key of the last row of a page. It is opaque to clients, but not a secret: whatever a
client makes of it ends up in bound parameters, or in `InvalidCursor`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from domain.errors import InvalidCursor

Key = tuple[int | str, ...]
"""The sort key of a row: what the list is ordered by, its last part unique."""

_LONGEST: Final = 65_536
_INTEGERS: Final = range(-(2**63), 2**63)


def fingerprint(*parts: object) -> str:
    """Return a short digest of what a cursor is bound to: list, filters, order."""
    return blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def encode_cursor(bound_to: str, key: Sequence[int | str]) -> str:
    """Return the cursor after the row with this key."""
    return base64.urlsafe_b64encode(orjson.dumps([bound_to, *key])).rstrip(b"=").decode()


def decode_cursor(bound_to: str, cursor: str, shape: Sequence[type]) -> Key:
    """Return the key of a cursor; its parts have the types of ``shape``.

    Raises:
        InvalidCursor: it is damaged, or was given for another list.

    """
    parts = _parts(cursor)
    if not isinstance(parts, list) or len(parts) != len(shape) + 1:
        raise InvalidCursor("the cursor is not one of ours")
    if parts[0] != bound_to:
        raise InvalidCursor("the cursor belongs to a list with other filters or another order")
    for part, kind in zip(parts[1:], shape, strict=True):
        if type(part) is not kind or (kind is int and part not in _INTEGERS):
            raise InvalidCursor("the cursor is damaged")
    return tuple(parts[1:])


def position_in(cursor: str) -> int:
    """Return the position that a cursor of a list of the views ends with, 0 where it has none.

    The last part of its key is the position of an event: the first of an entity, or an entry's own.

    Raises:
        InvalidCursor: it is damaged.

    """
    parts = _parts(cursor)
    last = parts[-1] if isinstance(parts, list) and parts else None
    return last if type(last) is int and last in _INTEGERS else 0


def _parts(cursor: str) -> Any:
    if len(cursor) > _LONGEST or not cursor.isascii():
        raise InvalidCursor("the cursor is not one of ours")
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return orjson.loads(text)
    except (binascii.Error, orjson.JSONDecodeError):
        raise InvalidCursor("the cursor is damaged") from None
