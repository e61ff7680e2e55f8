"""A bucket that fails: what passes by itself is waited out, the rest is said in our own words."""

from __future__ import annotations

import gc
import logging
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest
from gcs_fake import SECRET, GcsFake
from gcs_faults import Kind, Operation
from stores import content_of, names, put

from daemon.backup.errors import (
    AlreadyThere,
    BackupError,
    ObjectDamaged,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
    SwapLost,
)
from daemon.backup.gcs_store import GcsBucket, GcsRegister, GcsStore
from daemon.backup.store import Place

MIB = 1 << 20
LARGE = random.Random(3).randbytes(20 * MIB + 5)
SMALL = b"a few bytes"

STEPS: dict[str, Callable[[Place], object]] = {
    "put": lambda place: put(place, "s/new", SMALL),
    "put large": lambda place: put(place, "s/large", LARGE),
    "find": lambda place: place.objects.find("s/there"),
    "find none": lambda place: place.objects.find("s/none"),
    "get": lambda place: content_of(place, "s/there"),
    "range": lambda place: place.objects.get_range("s/there", 0, 4),
    "list": lambda place: names(place, "s/"),
    "delete": lambda place: place.objects.delete("s/there"),
    "read": lambda place: place.register.read(),
    "swap": lambda place: place.register.swap(b"two", place.register.read().version),
}
"""Everything that can be asked of a place that holds ``s/there`` and a manifest."""


def reached(fake: GcsFake, *, bucket: str = "kept", **options: float) -> Place:
    """Return a place in the fake, which nobody waits for very long."""
    limits = {"timeout_seconds": 20.0, "request_seconds": 2.0, **options}
    connected = GcsBucket(bucket, endpoint=fake.url, **limits)
    return Place(GcsStore(connected, "daemon"), GcsRegister(connected, "daemon"))


@pytest.fixture
def place(gcs_fake: GcsFake) -> Place:
    """Return a place in the fake that holds ``s/there`` and a manifest."""
    place = reached(gcs_fake)
    put(place, "s/there", SMALL)
    place.register.swap(b"one", None)
    return place


def failing(step: Callable[[Place], object], place: Place) -> BackupError:
    """Return the error that a step raises, after checking that nothing of the store is in it."""
    with pytest.raises(BackupError) as caught:
        step(place)
    told = "".join(traceback.format_exception(caught.value))
    for leaked in (SECRET, "http://", "upload_id", "storage/v1", "injected"):
        assert leaked not in told
    return caught.value


@pytest.mark.parametrize(
    ("step", "status"),
    [*((step, 503) for step in STEPS), *(("find", each) for each in (408, 429, 500, 502, 504))],
)
def test_errors_that_pass_are_waited_out(
    gcs_fake: GcsFake, place: Place, step: str, status: int
) -> None:
    """Whatever is asked succeeds when the store fails once and then works."""
    fault = gcs_fake.arm(Kind.STATUS, status=status)
    STEPS[step](place)
    assert fault.fired == 1


@pytest.mark.parametrize("step", STEPS)
def test_nothing_else_is_asked(gcs_fake: GcsFake, place: Place, step: str) -> None:
    """The bucket itself, which needs another right, is not; no thread of the client goes on."""
    fault = gcs_fake.arm(Kind.STATUS, times=2)
    STEPS[step](place)
    assert fault.fired == 2
    assert Operation.BUCKET not in {operation for _, operation, _ in gcs_fake.requests}
    clients = [each for each in threading.enumerate() if "_fetch_background" in each.name]
    assert not clients


@pytest.mark.parametrize("operation", [Operation.BEGIN, Operation.CHUNK])
def test_each_part_of_an_upload_is_tried_again(
    gcs_fake: GcsFake, place: Place, operation: Operation
) -> None:
    """The start and the parts of a large upload are repeated, and the object is whole."""
    fault = gcs_fake.arm(Kind.STATUS, operation=operation, times=2)
    put(place, "s/large", LARGE)
    assert fault.fired == 2
    assert content_of(place, "s/large") == LARGE


@pytest.mark.parametrize("step", STEPS)
def test_errors_that_last_end_in_bounded_time(gcs_fake: GcsFake, place: Place, step: str) -> None:
    """A store that only says 503 is given up when the time is over."""
    fault = gcs_fake.arm(Kind.STATUS, times=None)
    hurried = reached(gcs_fake, timeout_seconds=0.8)
    began = time.monotonic()
    error = failing(STEPS[step], hurried)
    assert isinstance(error, StoreUnavailable)
    assert "503 Service Unavailable" in error.detail
    assert time.monotonic() - began < 5
    assert fault.fired >= 1


@pytest.mark.parametrize("step", STEPS)
def test_a_stalled_answer_is_asked_for_again(gcs_fake: GcsFake, place: Place, step: str) -> None:
    """A server that sends one byte and no more is left after the time of a request."""
    fault = gcs_fake.arm(Kind.STALL)
    STEPS[step](reached(gcs_fake, request_seconds=0.3))
    assert fault.fired == 1


def test_a_store_that_only_stalls_is_given_up(gcs_fake: GcsFake, place: Place) -> None:
    """One that always stalls is given up in bounded time, and named as what it is."""
    fault = gcs_fake.arm(Kind.STALL, times=None)
    hurried = reached(gcs_fake, timeout_seconds=0.5, request_seconds=0.3)
    began = time.monotonic()
    assert isinstance(failing(STEPS["find"], hurried), StoreUnavailable)
    assert time.monotonic() - began < 5
    assert fault.fired >= 1


@pytest.mark.parametrize("step", STEPS)
def test_nobody_there(gcs_fake: GcsFake, step: str) -> None:
    """Where nothing listens, the error says that the connection was refused."""
    with GcsFake() as gone:
        place = reached(gone, timeout_seconds=0.4)
    error = failing(STEPS[step], place)
    assert isinstance(error, StoreUnavailable)
    assert "Connection refused" in error.detail


@pytest.mark.parametrize("after", [0, 1, 3 * MIB + 123])
def test_a_connection_that_is_reset_in_an_upload(
    gcs_fake: GcsFake, place: Place, after: int
) -> None:
    """An upload goes on after its connection broke, three times, and the object is whole."""
    fault = gcs_fake.arm(
        Kind.RESET_UPLOAD, operation=Operation.CHUNK, method="PUT", after=after, times=3
    )
    put(place, "s/large", LARGE)
    assert fault.fired == 3
    assert content_of(place, "s/large") == LARGE
    assert sum(operation == Operation.BEGIN for _, operation, _ in gcs_fake.requests) == 1


@pytest.mark.parametrize("kind", [Kind.LOSE_ANSWER, Kind.FORGET])
@pytest.mark.parametrize("spared", [0, 1, 2])
def test_a_lost_answer_to_a_part(gcs_fake: GcsFake, place: Place, kind: Kind, spared: int) -> None:
    """The answer to any part of an upload may be lost, and the upload forgotten: it is stored.

    Of the last part this is "committed, but the answer was lost": who begins again meets 412.
    """
    fault = gcs_fake.arm(kind, operation=Operation.CHUNK, spared=spared)
    stored = put(place, "s/large", LARGE)
    assert fault.fired == 1
    assert place.objects.find("s/large") == stored
    assert content_of(place, "s/large") == LARGE


def test_a_lost_answer_to_a_small_upload(gcs_fake: GcsFake, place: Place) -> None:
    """The client's own second attempt meets 412, and the object counts as stored."""
    fault = gcs_fake.arm(Kind.LOSE_ANSWER, operation=Operation.INSERT)
    stored = put(place, "s/new", SMALL, number="1")
    assert fault.fired == 1
    inserts = [each for each in gcs_fake.requests if each[2] == "daemon/s/new"]
    assert [operation for _, operation, _ in inserts[:2]] == [Operation.INSERT, Operation.INSERT]
    assert place.objects.find("s/new") == stored


def test_a_lost_answer_about_something_else(gcs_fake: GcsFake, place: Place) -> None:
    """A name that somebody else took is never ours, lost answers or not."""
    fault = gcs_fake.arm(Kind.LOSE_ANSWER, operation=Operation.INSERT)
    with pytest.raises(AlreadyThere):
        put(place, "s/there", b"of another writer")
    assert fault.fired == 1
    assert content_of(place, "s/there") == SMALL


def test_a_lost_answer_to_a_swap(gcs_fake: GcsFake, place: Place) -> None:
    """A swap whose answer was lost is found done by what it wrote, and names the new version."""
    held = place.register.read()
    assert held is not None
    fault = gcs_fake.arm(Kind.LOSE_ANSWER, operation=Operation.INSERT)
    version = place.register.swap(b"two", held.version)
    assert fault.fired == 1
    assert place.register.read() == (b"two", version)
    assert version != held.version


def test_a_lost_answer_to_the_swap_of_a_loser(gcs_fake: GcsFake, place: Place) -> None:
    """Who swaps a version that is gone is told so, even after a lost answer."""
    held = place.register.read()
    assert held is not None
    place.register.swap(b"of another writer", held.version)
    fault = gcs_fake.arm(Kind.LOSE_ANSWER, operation=Operation.INSERT)
    with pytest.raises(SwapLost):
        place.register.swap(b"two", held.version)
    assert fault.fired == 1


@pytest.mark.parametrize(
    ("name", "content", "spared"), [("s/new", SMALL * 1000, 0), ("s/large", LARGE, 1)]
)
def test_an_upload_that_is_damaged_on_its_way(
    gcs_fake: GcsFake, place: Place, name: str, content: bytes, spared: int
) -> None:
    """The store refuses it by the checksum that went ahead; it is sent again, and is whole."""
    operation = Operation.CHUNK if spared else Operation.INSERT
    fault = gcs_fake.arm(Kind.CORRUPT, operation=operation, spared=spared)
    put(place, name, content)
    assert fault.fired == 1
    assert content_of(place, name) == content


def test_uploads_that_are_always_damaged(gcs_fake: GcsFake, place: Place) -> None:
    """They are given up after some attempts, and leave nothing behind."""
    fault = gcs_fake.arm(Kind.CORRUPT, operation=Operation.INSERT, times=None)
    assert isinstance(failing(lambda p: put(p, "s/n", SMALL * 1000), place), StoreRefused)
    assert 1 < fault.fired < 10
    assert place.objects.find("s/n") is None


@pytest.mark.parametrize("after", [0, 1, MIB + 7])
def test_a_connection_that_is_reset_in_a_download(
    gcs_fake: GcsFake, place: Place, after: int
) -> None:
    """A download goes on where it broke, and every byte comes once."""
    put(place, "s/large", LARGE)
    fault = gcs_fake.arm(Kind.RESET_DOWNLOAD, operation=Operation.MEDIA, after=after, times=3)
    assert content_of(place, "s/large", 5) == LARGE[5:]
    assert fault.fired == 3


def test_downloads_that_always_break(gcs_fake: GcsFake, place: Place) -> None:
    """They are given up in bounded time."""
    fault = gcs_fake.arm(Kind.RESET_DOWNLOAD, operation=Operation.MEDIA, times=None)
    hurried = reached(gcs_fake, timeout_seconds=0.8)
    assert isinstance(failing(STEPS["get"], hurried), StoreUnavailable)
    assert fault.fired >= 1


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_corrupted_download(gcs_fake: GcsFake, place: Place, content: bytes) -> None:
    """A byte that changed on the way is found by the checksum when the last piece has come."""
    put(place, "s/object", content)
    fault = gcs_fake.arm(Kind.CORRUPT, operation=Operation.MEDIA)
    with pytest.raises(ObjectDamaged, match="s/object"):
        content_of(place, "s/object")
    assert fault.fired == 1


def test_a_corrupted_manifest(gcs_fake: GcsFake, place: Place) -> None:
    """A manifest that changed on the way is not taken for one."""
    fault = gcs_fake.arm(Kind.CORRUPT, operation=Operation.MEDIA)
    assert isinstance(failing(STEPS["read"], place), ObjectDamaged)
    assert fault.fired == 1


def test_what_is_wrong_but_consistent_passes(gcs_fake: GcsFake, place: Place) -> None:
    """Content that was changed with its checksum is not for the store to find: we keep sha256."""
    gcs_fake.objects.tamper("kept", "daemon/s/there", b"another few", consistent=True)
    assert content_of(place, "s/there") == b"another few"


@pytest.mark.parametrize("after", [0, 4, 9 * MIB])
def test_a_truncated_object(gcs_fake: GcsFake, place: Place, after: int) -> None:
    """Content that ends before its length is damaged, wherever it ends."""
    put(place, "s/large", LARGE)
    fault = gcs_fake.arm(Kind.TRUNCATE, operation=Operation.MEDIA, after=after, times=None)
    with pytest.raises(ObjectDamaged, match=f"ends at byte {after} of {len(LARGE)}"):
        content_of(place, "s/large")
    assert fault.fired >= 1


def test_an_object_that_is_replaced_while_it_is_read(gcs_fake: GcsFake, place: Place) -> None:
    """What was begun is never gone on with in another object of the same name."""
    put(place, "s/large", LARGE)
    pieces = place.objects.get("s/large")
    next(pieces)
    place.objects.delete("s/large")
    put(place, "s/large", LARGE[::-1])
    with pytest.raises(ObjectMissing):
        list(pieces)


@pytest.fixture
def abandoned_answers() -> Iterator[None]:
    """Collect the answers that the client leaves unread when it cannot renew its credentials."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("abandoned_answers")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("step", STEPS)
def test_credentials_that_do_not_do(
    gcs_fake: GcsFake, place: Place, step: str, status: int
) -> None:
    """401 and 403 are refusals, at once, with a hint about credentials or rights."""
    fault = gcs_fake.arm(Kind.STATUS, status=status, times=None)
    began = time.monotonic()
    error = failing(STEPS[step], place)
    assert isinstance(error, StoreRefused)
    assert "service account" in error.operator_hint
    assert time.monotonic() - began < 5
    assert fault.fired >= 1


@pytest.mark.parametrize("step", STEPS)
def test_a_bucket_that_does_not_exist(gcs_fake: GcsFake, step: str) -> None:
    """A missing bucket is a refusal that names it, and never looks like an empty place."""
    place = reached(gcs_fake, bucket="elsewhere")
    if step == "delete":
        STEPS[step](place)
        return
    error = failing(STEPS[step], place)
    assert isinstance(error, StoreRefused)
    assert "no bucket elsewhere" in error.detail
    assert "bucket" in error.operator_hint


def test_a_list_of_many_pages(gcs_fake: GcsFake, place: Place) -> None:
    """More objects than fit in a page are listed all, in order, and from any name on."""
    for number in range(2345):
        fields = {"name": f"daemon/many/{number:06}"}
        gcs_fake.objects.insert("kept", fields, b"", {}, {})
    expected = [f"many/{number:06}" for number in range(2345)]
    gcs_fake.requests.clear()
    assert names(place, "many/") == expected
    assert [operation for _, operation, _ in gcs_fake.requests] == [Operation.LIST] * 3
    assert names(place, "many/", "many/001500") == expected[1501:]


def test_a_page_that_fails(gcs_fake: GcsFake, place: Place) -> None:
    """A list goes on when one of its pages fails, and no name is lost or twice."""
    for number in range(25):
        put(place, f"many/{number:02}")
    gcs_fake.objects.page_max = 10
    fault = gcs_fake.arm(Kind.STATUS, operation=Operation.LIST, spared=1)
    assert names(place, "many/") == [f"many/{number:02}" for number in range(25)]
    assert fault.fired == 1


def test_clocks_do_not_matter(gcs_fake: GcsFake, place: Place) -> None:
    """A store whose clock is a day behind is used as any other."""
    gcs_fake.objects.clock_skew_seconds = -86_400
    stored = put(place, "s/new", SMALL)
    assert stored.created < time.time_ns() // 1000 - 80_000_000_000
    assert put(place, "s/new", SMALL) == stored


def test_nothing_of_the_store_is_logged(
    gcs_fake: GcsFake, caplog: pytest.LogCaptureFixture
) -> None:
    """At the lowest level of logging, neither ids of uploads nor answers are in the log."""
    caplog.set_level(logging.DEBUG)
    place = reached(gcs_fake)
    fault = gcs_fake.arm(Kind.STATUS, operation=Operation.CHUNK, times=2)
    put(place, "s/large", LARGE)
    content_of(place, "s/large")
    assert fault.fired == 2
    assert [record.message for record in caplog.records if SECRET in record.getMessage()] == []
    assert "/storage/v1" not in caplog.text
