"""Taking a value out of a payload: what stands there then, and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog import event_type, event_types, example_of, find_type
from domain.errors import Invalid
from domain.faults import escape, is_valid
from domain.redaction import MASK, redacted, texts_in, value_at

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, pointer: str = "/data") -> list[str]:
    """Return the pointers of all values below a payload."""
    found = []
    named = value.items() if isinstance(value, dict) else enumerate(value)
    for name, each in named:
        at = f"{pointer}/{escape(name)}"
        found.append(at)
        if isinstance(each, (dict, list)):
            found += places(each, at)
    return found


@given(st.dictionaries(st.text(min_size=1), JSON, min_size=1), st.data())
def test_whatever_a_pointer_leads_to_is_gone_and_the_rest_is_left(
    params: dict[str, Any], data: st.DataObject
) -> None:
    """Free values of any shape: nothing of it is left, nothing else changes, twice is once."""
    payload = {"kind": "k", "params": params}
    stored = orjson.dumps(payload)
    pointer = data.draw(st.sampled_from(places(payload)))
    before = value_at(stored, pointer)
    after = redacted("job.submitted", 1, stored, pointer)
    if before in (None, MASK):
        assert after is None
        return
    assert after is not None
    assert redacted("job.submitted", 1, stored, pointer) == after
    assert is_valid(event_type("job.submitted").model, orjson.loads(after))
    assert value_at(after, pointer) in (None, MASK)
    assert redacted("job.submitted", 1, after, pointer) is None
    others = [each for each in places(orjson.loads(after)) if not each.startswith(pointer)]
    for other in others:
        if not pointer.startswith(f"{other}/"):
            assert value_at(after, other) == value_at(stored, other)


@pytest.mark.parametrize("name", [each.name for each in event_types() if each.client])
def test_every_field_of_a_type_is_redacted_or_refused(name: str) -> None:
    """What comes out is valid for the type; what the type cannot do without is said to be so."""
    payload = example_of(name)
    entry = find_type(name)
    assert entry is not None
    refused: list[str] = []
    for pointer in places(payload):
        stored = orjson.dumps(payload)
        before = set(texts_in(value_at(stored, pointer)))
        try:
            after = redacted(name, entry.class_version, stored, pointer)
        except Invalid:
            refused.append(pointer)
            continue
        assert after is not None
        assert is_valid(entry.model, orjson.loads(after))
        others = set(texts_in(orjson.loads(after)))
        rest = [each for each in places(payload) if not each.startswith(pointer)]
        kept = {each for place in rest for each in texts_in(value_at(stored, place))
                if not pointer.startswith(f"{place}/")}  # fmt: skip
        assert not (before - kept - {MASK}) & others
    assert len(refused) < len(places(payload)) or not payload or len(refused) == 1


PAYLOAD = orjson.dumps({"kind": "k", "params": {"a/b": 1, "m~n": {"token": "t"}, "list": [1, 2]}})


@pytest.mark.parametrize(
    ("pointer", "detail"),
    [
        ("", "begin with /data/"),
        ("/data", "begin with /data/"),
        ("/params/token", "begin with /data/"),
        ("/data/parms", "did you mean 'params'?"),
        ("/data/params/m~n", "column 15: ~ is written ~0"),
        ("/data/params/list/2", "no index of an array of 2"),
        ("/data/params/list/01", "no index"),
        ("/data/params/list/-", "no index"),
        ("/data/kind/x", "neither an object nor an array"),
        ("/data/", "known are: kind, params"),
    ],
)
def test_a_pointer_that_leads_nowhere_is_refused(pointer: str, detail: str) -> None:
    """The error says what is wrong with it, and where."""
    with pytest.raises(Invalid) as caught:
        redacted("job.submitted", 1, PAYLOAD, pointer)
    assert detail in caught.value.detail
    assert caught.value.errors[0].pointer == pointer


def test_names_with_slashes_and_tildes_are_found() -> None:
    """As RFC 6901 writes them."""
    after = redacted("job.submitted", 1, PAYLOAD, "/data/params/a~1b")
    after = redacted("job.submitted", 1, after or b"", "/data/params/m~0n/token")
    assert orjson.loads(after or b"")["params"] == {
        "a/b": None, "m~n": {"token": MASK}, "list": [1, 2],
    }  # fmt: skip


def test_an_event_of_a_newer_release_is_left_alone() -> None:
    """Nobody knows what it needs."""
    for type_, version in (("job.other", 1), ("job.submitted", 9)):
        with pytest.raises(Invalid, match="newer release"):
            redacted(type_, version, PAYLOAD, "/data/kind")
