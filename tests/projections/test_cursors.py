"""Cursors come back as they went out, and nothing a client makes of them does harm."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidCursor
from projections.cursor import decode_cursor, encode_cursor, fingerprint

BOUND = fingerprint("jobs", {"kind": "a"}, "-submitted")
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@given(INTEGERS, st.text(), INTEGERS)
def test_a_cursor_round_trips(first: int, second: str, third: int) -> None:
    """Any key of integers and text is read back exactly."""
    cursor = encode_cursor(BOUND, (first, second, third))
    assert decode_cursor(BOUND, cursor, (int, str, int)) == (first, second, third)


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_garbage_is_an_invalid_cursor(text: str) -> None:
    """Whatever a client sends as a cursor is refused as such, and never raises anything else."""
    with pytest.raises(InvalidCursor):
        decode_cursor(BOUND, text, (int, int))


@given(INTEGERS, INTEGERS, st.integers(min_value=0), st.characters())
def test_a_changed_cursor_is_refused_or_in_shape(
    first: int, second: int, place: int, character: str
) -> None:
    """A changed character leads to a refusal or to another key of the same shape, nothing else."""
    cursor = encode_cursor(BOUND, (first, second))
    place %= len(cursor)
    changed = cursor[:place] + character + cursor[place + 1 :]
    try:
        key = decode_cursor(BOUND, changed, (int, int))
    except InvalidCursor:
        return
    assert [type(part) for part in key] == [int, int]


def test_a_cursor_is_bound_to_its_list() -> None:
    """A cursor given for other filters is refused."""
    cursor = encode_cursor(BOUND, (1, 2))
    other = fingerprint("jobs", {"kind": "b"}, "-submitted")
    with pytest.raises(InvalidCursor, match="other filters"):
        decode_cursor(other, cursor, (int, int))


@pytest.mark.parametrize("key", [(1,), (1, 2, 3), (1, "2"), (1, True), (1, 2.0), (1, None)])
def test_a_key_of_another_shape_is_refused(key: tuple) -> None:
    """Neither the number of parts nor their types can be changed."""
    with pytest.raises(InvalidCursor):
        decode_cursor(BOUND, encode_cursor(BOUND, key), (int, int))


def test_an_integer_beyond_sqlite_is_refused() -> None:
    """A number SQLite cannot hold never reaches it."""
    raw = f'["{BOUND}",{2**63},1]'.encode()
    with pytest.raises(InvalidCursor):
        decode_cursor(BOUND, base64.urlsafe_b64encode(raw).decode(), (int, int))
