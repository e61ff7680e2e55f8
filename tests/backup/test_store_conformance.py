"""What every store keeps to: one suite, run against each kind of place."""

from __future__ import annotations

import io
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import pytest
from stores import Open, content_of, names, put

from daemon.backup.errors import AlreadyThere, ObjectMissing, StoreRefused, SwapLost
from daemon.backup.store import CHUNK_BYTES, Place

ODD_NAMES = [
    "segments/with a space",
    "segments/grün-日本",
    "segments/'quoted' \"twice\" [*]~",
    "deep/er/and/deeper/still",
]


def test_what_is_put_is_got(place: Place) -> None:
    """An object is described as it was stored, by the store and by us alike, and comes back."""
    before = time.time_ns() // 1000
    stored = put(place, "segments/a", b"some content", kind="segment", epoch="1")
    found = place.objects.find("segments/a")
    assert found == stored
    assert (found.name, found.size) == ("segments/a", 12)
    assert found.crc32c == google_crc32c.value(b"some content")
    assert found.metadata == {"kind": "segment", "epoch": "1"}
    assert abs(found.created - before) < 3_600_000_000
    assert content_of(place, "segments/a") == b"some content"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(place: Place, name: str) -> None:
    """A name is kept as it is, whatever it means in a url or to a shell."""
    put(place, name, name.encode(), title='a=b; c, "d"')
    assert content_of(place, name) == name.encode()
    assert names(place, "") == [name]
    found = place.objects.find(name)
    assert found is not None
    assert found.metadata == {"title": 'a=b; c, "d"'}
    place.objects.delete(name)
    assert names(place, "") == []


@pytest.mark.usefixtures("preconditions")
@pytest.mark.parametrize("name", ["segments/a#b?c&d=e+f", "segments/a%2Fb"])
def test_names_that_mean_something_in_a_url(place: Place, name: str) -> None:
    """They are kept as they are; a store that declares less than all may decode them twice."""
    test_odd_names(place, name)


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", ".lock", "a\nb"])
def test_names_that_lead_elsewhere_are_refused(place: Place, name: str) -> None:
    """A name that could mean another file or a hidden one is refused by every method."""
    for refused in (
        lambda: put(place, name),
        lambda: place.objects.find(name),
        lambda: content_of(place, name),
        lambda: place.objects.get_range(name, 0, 1),
        lambda: place.objects.delete(name),
    ):
        with pytest.raises(StoreRefused, match="not a name"):
            refused()


def test_an_empty_object(place: Place) -> None:
    """An object of no bytes is there all the same."""
    assert put(place, "segments/empty", b"").size == 0
    assert content_of(place, "segments/empty") == b""
    assert place.objects.get_range("segments/empty", 0, 10) == b""
    assert names(place, "segments/") == ["segments/empty"]


def test_a_large_object_in_pieces(place: Place) -> None:
    """20 MiB go up and come back, in pieces of a bounded size, also from the middle on."""
    content = random.Random(7).randbytes(20 << 20)
    put(place, "snapshots/large", content)
    pieces = list(place.objects.get("snapshots/large"))
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert b"".join(pieces) == content
    middle = (9 << 20) + 17
    assert content_of(place, "snapshots/large", middle) == content[middle:]


def test_the_rest_of_a_source_is_stored(place: Place) -> None:
    """An upload begins where the source stands, and takes no more than its size."""
    source = io.BytesIO(b"head:content:tail")
    source.seek(5)
    place.objects.put_if_absent("segments/part", source, 7, {})
    assert content_of(place, "segments/part") == b"content"


def test_a_source_that_is_too_short(place: Place) -> None:
    """Nothing is stored when the source ends before its size."""
    with pytest.raises(ValueError, match="too early"):
        place.objects.put_if_absent("segments/short", io.BytesIO(b"abc"), 4, {})
    assert place.objects.find("segments/short") is None


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (8, 10, b"89"),
        (9, 1, b"9"),
        (10, 1, b""),
        (50, 5, b""),
        (4, 0, b""),
    ],
)
def test_ranges(place: Place, start: int, length: int, expected: bytes) -> None:
    """A range is cut at the end of the object; past it there is nothing, and that is no error."""
    put(place, "segments/ten", b"0123456789")
    assert place.objects.get_range("segments/ten", start, length) == expected


@pytest.mark.parametrize(("start", "expected"), [(9, b"9"), (10, b""), (11, b"")])
def test_content_from_the_end_on(place: Place, start: int, expected: bytes) -> None:
    """To go on from the end, or past it, yields nothing more."""
    put(place, "segments/ten", b"0123456789")
    assert content_of(place, "segments/ten", start) == expected


def test_what_is_not_there(place: Place) -> None:
    """A missing object is None to find, an error to read, and no trouble to delete."""
    assert place.objects.find("segments/none") is None
    assert names(place, "") == []
    for missing in (
        lambda: content_of(place, "segments/none"),
        lambda: place.objects.get_range("segments/none", 0, 1),
    ):
        with pytest.raises(ObjectMissing, match="segments/none"):
            missing()
    place.objects.delete("segments/none")
    put(place, "segments/some")
    assert place.objects.find("segments") is None
    assert place.objects.find("segments/some/more") is None


def test_deleting(place: Place) -> None:
    """A deleted object is gone, its name can be used again, and deleting twice does no harm."""
    put(place, "segments/a", b"first", number="1")
    for _ in range(2):
        place.objects.delete("segments/a")
        assert place.objects.find("segments/a") is None
    put(place, "segments/a", b"second")
    found = place.objects.find("segments/a")
    assert found is not None
    assert (found.metadata, content_of(place, "segments/a")) == ({}, b"second")


def test_a_list_is_by_name_whole_and_of_its_prefix(place: Place) -> None:
    """Names come in the order of their code points, across folders, those of a prefix only."""
    shuffled = ["b/2", "a-b", "a/1", "b/10", "a", "b", "ä", "b/1", "B/1"]
    expected = sorted(set(shuffled) - {"a", "b"})
    for name in shuffled:
        if name in expected:
            put(place, name, name.encode(), of=name)
    assert names(place, "") == expected
    assert names(place, "b/") == ["b/1", "b/10", "b/2"]
    assert names(place, "b/1") == ["b/1", "b/10"]
    assert names(place, "nothing/") == []
    assert {stored.metadata["of"] for stored in place.objects.list("b/")} == {"b/1", "b/2", "b/10"}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("", ["s/1", "s/2", "s/3"]),
        ("s/1", ["s/2", "s/3"]),
        ("s/15", ["s/2", "s/3"]),
        ("s/3", []),
        ("z", []),
        ("a", ["s/1", "s/2", "s/3"]),
    ],
)
def test_a_list_goes_on_after_a_name(place: Place, after: str, expected: list[str]) -> None:
    """A list begins after a name, whether that exists or not."""
    for name in ("s/1", "s/2", "s/3"):
        put(place, name)
    assert names(place, "s/", after) == expected


def test_the_same_again_is_stored_once(place: Place) -> None:
    """The same content under the same name counts as stored, and what was there stays."""
    first = put(place, "segments/a", b"content", number="1")
    again = put(place, "segments/a", b"content", number="2")
    assert again == first == place.objects.find("segments/a")


@pytest.mark.parametrize("size", [7, 8, 9 << 20])
def test_something_else_is_refused(place: Place, size: int) -> None:
    """A name that is taken is never written over, be the length the same or not."""
    put(place, "segments/a", b"content")
    with pytest.raises(AlreadyThere, match="segments/a"):
        put(place, "segments/a", bytes(size))
    assert content_of(place, "segments/a") == b"content"


def test_a_store_is_used_by_several_threads(place: Place) -> None:
    """Eight threads store and read through one store, and nothing is mixed up."""

    def work(number: int) -> list[bytes]:
        mine = [f"thread/{number}/{each}" for each in range(5)]
        for name in mine:
            put(place, name, name.encode() * 1000)
        return [content_of(place, name) for name in mine]

    with ThreadPoolExecutor(8) as pool:
        for number, contents in enumerate(pool.map(work, range(8))):
            assert contents == [f"thread/{number}/{each}".encode() * 1000 for each in range(5)]
    assert len(names(place, "thread/")) == 40


def at_once(tasks: list[Open], call) -> list[object]:
    """Run a call for each place at the same moment; return what came of each, errors included."""
    barrier = threading.Barrier(len(tasks))

    def run(number: int) -> object:
        place = tasks[number]()
        place.register.read()  # connects
        barrier.wait(20)
        try:
            return call(place, number)
        except (AlreadyThere, SwapLost) as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, range(len(tasks))))


@pytest.mark.usefixtures("preconditions")
@pytest.mark.parametrize("size", [10, 9 << 20])
def test_of_creators_at_once_exactly_one_wins(open_place: Open, size: int) -> None:
    """Eight stores that create the same name at once: one does, seven are told, none is mixed."""

    def create(place: Place, number: int) -> int:
        put(place, "segments/a", bytes([number]) * size, number=str(number))
        return number

    outcomes = at_once([open_place] * 8, create)
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert sum(isinstance(outcome, AlreadyThere) for outcome in outcomes) == 7
    place = open_place()
    assert content_of(place, "segments/a") == bytes([winner]) * size
    found = place.objects.find("segments/a")
    assert found is not None
    assert found.metadata == {"number": str(winner)}


def test_the_register_is_swapped(place: Place) -> None:
    """It holds nothing, then the first content, then the second, and names each version anew."""
    assert place.register.read() is None
    first = place.register.swap(b"one", None)
    assert place.register.read() == (b"one", first)
    second = place.register.swap(b"two", first)
    assert second != first
    assert place.register.read() == (b"two", second)


def test_a_stale_swap_is_lost(place: Place) -> None:
    """Who does not know what it holds cannot replace it: neither by none nor by an old version."""
    first = place.register.swap(b"one", None)
    with pytest.raises(SwapLost):
        place.register.swap(b"other", None)
    second = place.register.swap(b"two", first)
    for version in (None, first):
        with pytest.raises(SwapLost):
            place.register.swap(b"other", version)
    assert place.register.read() == (b"two", second)


@pytest.mark.usefixtures("preconditions")
def test_the_same_swap_again_counts_as_done(place: Place) -> None:
    """Whoever lost the answer to a swap swaps again, and learns that it was done."""
    first = place.register.swap(b"one", None)
    assert place.register.swap(b"one", None) == first
    second = place.register.swap(b"two", first)
    assert place.register.swap(b"two", first) == second


@pytest.mark.usefixtures("preconditions")
def test_of_swappers_at_once_exactly_one_wins(open_place: Open) -> None:
    """Eight swaps of the same version at once, round after round: one is done, seven are lost."""
    register = open_place().register
    version = None
    for round_ in range(4):

        def swap(place: Place, number: int, known=version, round_=round_) -> tuple[bytes, str]:
            content = f"{round_} by {number}".encode()
            return content, place.register.swap(content, known)

        outcomes = at_once([open_place] * 8, swap)
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        assert sum(isinstance(outcome, SwapLost) for outcome in outcomes) == 7
        assert register.read() == winner
        version = winner[1]
