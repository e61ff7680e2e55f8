"""Lists page by page: by keyset, along an index, never by offset.

How the keys of a page are found is in `walks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from domain.errors import Fault, Invalid
from projections.cursor import Key
from projections.walks import Found, Value

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 1_000
"""Most items of one page."""
PAGE_BYTES: Final = 1024 * 1024
"""A page ends early once its rows hold this much text; 1,000 usual ones hold half of it."""
_INTEGERS: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its items, the cursor of the next page, and the position it shows."""

    items: list[dict[str, Any]]
    next: str | None
    as_of: int


def invalid(name: str, detail: str) -> Invalid:
    """Return the error about one parameter of a query."""
    return Invalid(detail, errors=[Fault(detail, f"/{name}")])


def check_limit(limit: int) -> None:
    """Raise unless a page may have this many items."""
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid("limit", f"limit has to be 1 to {LIMIT_MAX}, not {limit}")


def check_values(values: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return the filters that are given, or raise for a value that SQLite cannot hold."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, int):
            if value not in _INTEGERS:
                raise invalid(name, f"{name} is out of range")
        elif not _is_unicode(value):
            raise invalid(name, f"{name} is not text that can be written in UTF-8")
    return given


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Shown = tuple[int, dict[str, Any], int]
"""An item of a list: its number, the item, and how much text it holds."""


def shown_items(
    found: Found, limit: int, show: Callable[[str], Iterable[Shown]]
) -> tuple[list[dict[str, Any]], Key | None]:
    """Return the items of a page, and the key after which the next one begins, if there is one.

    ``found`` holds the keys of ``limit`` rows and one more, where there are so many. ``show`` gives
    the items of numbers (the last parts of keys, as a JSON array) in their order; some may not be
    there. A page holds at least one item where there is one.
    """
    keys = found.keys
    if not keys:
        return [], found.end
    numbers = [key[-1] for key in keys[:limit]]
    items: list[dict[str, Any]] = []
    size = 0
    for number, item, text in show(orjson.dumps(numbers).decode()):
        items.append(item)
        size += text
        if size > PAGE_BYTES:
            place = numbers.index(number)
            return items, keys[place] if place + 1 < len(keys) else found.end
    return items, keys[limit - 1] if len(keys) > limit else found.end


def text_size(row: Iterable[Any]) -> int:
    """Return how much text a row holds."""
    return sum([len(value) for value in row if isinstance(value, str)])
