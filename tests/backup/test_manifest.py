"""Names, headers and the manifest: what is written can be read, and what is newer is refused."""

from __future__ import annotations

import json

import pytest
import zstandard
from backup_driving import WRITER, manifest_of, snapshot_at
from hypothesis import given
from hypothesis import strategies as st

from daemon.backup.container import HEADER_BYTES_MAX, Header, read_header
from daemon.backup.errors import NoBackup, ObjectDamaged
from daemon.backup.manifest import Epoch, Manifest, require
from daemon.backup.names import Range, read_range, read_snapshot_name, snapshot_name
from daemon.eventlog.connection import SCHEMA_VERSION
from domain.errors import NewerSchema

POSITIONS = st.integers(0, 2**63 - 1)
HEADER = Header(
    kind="segment", log_id="a log", epoch=3, schema_version=SCHEMA_VERSION, release="1 \u2713",
    first=1, last=9, count=9, digest_before="00", digest_after="11", raw_bytes=5, raw_sha256="22",
    recorded_first=1, recorded_last=2,
)  # fmt: skip


@given(POSITIONS, POSITIONS, st.integers(0, 2_000_000))
def test_names_say_what_objects_hold(first: int, last: int, epoch: int) -> None:
    """A name is read back as what it was made of, and sorts as positions do."""
    range_ = Range(first, last, epoch)
    assert read_range(range_.segment) == range_ == read_range(range_.letters)
    assert range_.segment.startswith("segments/")
    assert range_.letters.startswith("letters/")
    assert read_snapshot_name(snapshot_name(epoch, first)) == (epoch, first)
    if epoch < 10**6:
        assert (snapshot_name(epoch, first) < snapshot_name(epoch, last)) == (first < last)


@pytest.mark.parametrize(
    "name",
    ["", "segments/", "segments/1-1-2.seg.zst", "other", f"{Range(1, 2, 3).segment}.part", "a\nb"],
)
def test_other_names_are_of_nothing(name: str) -> None:
    """A name that no object of a backup has is not taken for one."""
    assert read_range(name) is None
    assert read_snapshot_name(name) is None
    assert read_range(snapshot_name(1, 2)) is None
    assert read_snapshot_name(Range(1, 2, 3).segment) is None


def test_a_header_is_read_back_and_passed_over_by_zstd() -> None:
    """An object begins with its header; a decompressor that knows nothing of it gives the rest."""
    content = HEADER.frame() + zstandard.compress(b"database")
    assert read_header(content, "x") == (HEADER, len(HEADER.frame()))
    assert zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read() == (
        b"database"
    )


def test_a_header_is_told_by_metadata() -> None:
    """Metadata are texts, and say the same; without them there is no header."""
    metadata = HEADER.metadata("33")
    assert Header.of_metadata(metadata) == HEADER
    assert metadata["sha256"] == "33"
    assert Header.of_metadata({}) is None
    assert Header.of_metadata(metadata | {"last": "many"}) is None


@given(st.integers(0, len(HEADER.frame()) * 8 - 1))
def test_no_bit_of_a_header_can_be_another(bit: int) -> None:
    """Whatever bit is flipped, the header is not believed."""
    content = bytearray(HEADER.frame() + b"rest")
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ObjectDamaged):
        read_header(bytes(content), "x")


@given(
    st.binary(max_size=200)
    | st.integers(0, len(HEADER.frame()) - 1).map(HEADER.frame().__getitem__)
)
def test_what_is_no_header_is_damage(content: bytes | int) -> None:
    """Anything may stand in the place of an object."""
    given_ = content if isinstance(content, bytes) else HEADER.frame()[:content]
    with pytest.raises(ObjectDamaged):
        read_header(given_, "x")


@pytest.mark.parametrize("change", [{"format": 2}, {"schema_version": SCHEMA_VERSION + 1}])
def test_a_newer_header_is_refused(change: dict[str, int]) -> None:
    """What a newer release wrote is not damage, and is not read."""
    with pytest.raises(NewerSchema):
        read_header(HEADER.model_copy(update=change).frame(), "x")


def test_every_header_fits_where_it_is_looked_for() -> None:
    """A header is found within the bytes that are read of an object."""
    assert len(HEADER.frame()) < HEADER_BYTES_MAX


def test_a_manifest_is_read_back() -> None:
    """Everything that a manifest says comes back."""
    epoch = Epoch(epoch=2, after=5, first=10, letters=1, reported_head=7, began=3)
    manifest = manifest_of(epochs=(epoch,), replaced=("a", "b"), writer=WRITER)
    manifest = manifest.with_snapshot(snapshot_at(4)).with_snapshot(snapshot_at(2))
    assert Manifest.of(manifest.content()) == manifest
    assert [each.position for each in manifest.snapshots] == [2, 4]


def test_what_a_newer_release_adds_does_no_harm() -> None:
    """Fields that this release does not know are passed over."""
    manifest = manifest_of().with_snapshot(snapshot_at(4))
    told = json.loads(manifest.content())
    told["later"] = told["snapshots"][0]["later"] = told["writer"]["later"] = {"a": 1}
    assert Manifest.of(json.dumps(told).encode()) == manifest


@pytest.mark.parametrize("content", [b'{"format": 2}', b'{"format": 3, "log_id": 7}'])
def test_a_newer_manifest_is_refused(content: bytes) -> None:
    """A newer format is refused as such, whatever else is different in it."""
    with pytest.raises(NewerSchema):
        Manifest.of(content)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"format": "one"}'])
def test_what_is_no_manifest_is_damage(content: bytes) -> None:
    """Anything may stand in the place of the manifest; nothing of it is shown."""
    with pytest.raises(ObjectDamaged):
        Manifest.of(content)


@pytest.mark.parametrize("log_id", ["", "17uc2a5e-560f-451b-bebb-412cd4fce855", "log"])
def test_a_manifest_of_a_log_that_has_no_id_is_damage(log_id: str) -> None:
    """A log that was made by it, restored to position 0, would be refused at its next opening."""
    told = json.loads(manifest_of().content()) | {"log_id": log_id}
    with pytest.raises(ObjectDamaged, match="log_id"):
        Manifest.of(json.dumps(told).encode())


@pytest.mark.parametrize(
    "name", ["snapshots/\0.db.zst", "../log.db", snapshot_at(3).name, f"{snapshot_at(4).name}x"]
)
def test_a_snapshot_of_another_name_is_damage(name: str) -> None:
    """A file gets its name by it: a restore ended at one with a null byte, and told nothing."""
    told = json.loads(manifest_of().with_snapshot(snapshot_at(4)).content())
    told["snapshots"][0]["name"] = name
    with pytest.raises(ObjectDamaged, match=r"snapshots\.0"):
        Manifest.of(json.dumps(told).encode())


def test_a_snapshot_that_is_there_again_is_not_about_to_be_removed() -> None:
    """The name of a snapshot that was being removed is taken back when it is stored again."""
    snapshot = snapshot_at(4)
    manifest = manifest_of(replaced=(snapshot.name, "other")).with_snapshot(snapshot)
    assert manifest.replaced == ("other",)


def test_the_newest_snapshot_is_that_of_the_greatest_position() -> None:
    """The newest, and the newest that was proved, go by position, not by time."""
    manifest = manifest_of()
    assert manifest.newest() is None
    for each in (snapshot_at(2, proof="proved", taken=9), snapshot_at(4, taken=1)):
        manifest = manifest.with_snapshot(each)
    newest, proved = manifest.newest(), manifest.newest(proved=True)
    assert (newest and newest.position, proved and proved.position) == (4, 2)


def test_a_place_without_a_manifest_has_no_backup() -> None:
    """Where there is no manifest, that is what is said."""

    class Empty:
        """A register that was never written."""

        def read(self) -> None:
            """Return nothing."""

        def swap(self, content: bytes, version: str | None) -> str:
            """Refuse."""
            raise AssertionError(content, version)

    with pytest.raises(NoBackup):
        require(Empty())
