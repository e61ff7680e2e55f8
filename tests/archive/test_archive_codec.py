"""Objects of the archive: what goes in comes out, and a changed byte is found wherever it is."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.archive.container import FORMAT, HEAD_BYTES, Head, Unpacking, pack
from daemon.archive.errors import ArchiveDamaged
from daemon.archive.lines import First, decode, encode, event_of
from domain.cloudevents import to_line
from domain.errors import NewerSchema
from domain.events import RecordedEvent

HERE = Path("/tmp")


def packed(pieces: list[bytes]) -> bytes:
    """Return an object that holds pieces."""
    made = pack("file", "a-log", pieces, HERE)
    with made.file as file:
        return file.read()


@given(st.lists(st.binary(max_size=200)), st.integers(1, 700))
def test_a_round_trip(pieces: list[bytes], size: int) -> None:
    """What was packed comes out, in whatever pieces the object is read."""
    content = packed(pieces)
    read = [content[start : start + size] for start in range(0, len(content), size)]
    assert b"".join(Unpacking(read, "an object")) == b"".join(pieces)


def test_the_same_content_makes_the_same_object() -> None:
    """An object depends on its content alone, so that a retry meets its own object."""
    content = random.Random(1).randbytes(3_000_000)
    assert packed([content]) == packed([content])


def test_zstd_reads_it() -> None:
    """Whoever has nothing but zstandard gets the content."""
    content = packed([b"one\n", b"two\n"])
    reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True)
    assert reader.read() == b"one\ntwo\n"


def test_every_flipped_bit_is_found() -> None:
    """Whichever bit of an object is turned, reading it ends with an error."""
    content = packed([b"a line of text\n" * 40])
    for place in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises((ArchiveDamaged, NewerSchema)):
            b"".join(Unpacking([bytes(damaged)], "an object"))


def test_every_cut_is_found() -> None:
    """An object that ends early, or goes on, is damaged."""
    content = packed([b"a line of text\n" * 40])
    for end in range(len(content)):
        with pytest.raises(ArchiveDamaged):
            b"".join(Unpacking([content[:end]], "an object"))
    with pytest.raises(ArchiveDamaged):
        b"".join(Unpacking([content, b"\0"], "an object"))


def test_another_object_is_found() -> None:
    """An object that is right in itself, and not the one that was stored, is refused."""
    content = packed([b"one"])
    with pytest.raises(ArchiveDamaged, match="not the object"):
        b"".join(Unpacking([content], "an object", "0" * 64))


def test_a_newer_format_is_refused() -> None:
    """What a newer release wrote is not guessed at."""
    content = packed([b"one"])
    head = Head.read(content[:HEAD_BYTES], "an object").model_copy(update={"format": FORMAT + 1})
    with pytest.raises(NewerSchema, match="format 2"):
        Unpacking([head.frame() + content[HEAD_BYTES:]], "an object")


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C", "Z"]))
NAME = TEXT.filter(bool)
EVENT = st.builds(
    lambda position, time, id_, params, extension: (position, time, id_, params, extension),
    st.integers(1, 2**60),
    st.integers(0, 2**51),
    NAME,
    st.dictionaries(TEXT, st.one_of(st.none(), st.integers(-(2**60), 2**60), TEXT)),
    st.one_of(st.none(), NAME),
)


@settings(deadline=None)
@given(NAME, st.lists(EVENT, min_size=1, max_size=8))
def test_lines_keep_everything(
    job: str, given_: list[tuple[int, int, str, dict[str, Any], str]]
) -> None:
    """Every attribute of every event, and its payload byte for byte, comes back."""
    events = [
        RecordedEvent(
            position, f"job/{job}", version, "job.submitted", time, time, "/tests", id_,
            orjson.dumps({"params": params}), {"params": params},
            {} if extension is None else {"correlationid": extension},
        )
        for version, (position, time, id_, params, extension) in enumerate(given_, 1)
    ]  # fmt: skip
    lines = [to_line(event, bytes(32)) for event in events]
    first = First(job=job, log_id="a-log", version=len(events))
    found = decode(encode(first, lines), "an object")
    assert found.first == first
    assert found.own == lines
    assert [event_of(line, "an object") for line in found.own] == events


def test_lines_that_are_none() -> None:
    """A content that was stored whole, and is no job's, is told as damage."""
    first = First(job="a", log_id="a-log", version=1)
    whole = b"".join(encode(first, [b'{"type":"job.queued","subject":"a","version":1}']))
    for content in (
        b"",
        b"\n",
        b"{}\n{}\n",
        whole[:-1],
        whole + b"x",
        whole.replace(b"queued", b"x"),
    ):
        with pytest.raises(ArchiveDamaged):
            decode([content], "an object")
    with pytest.raises(ArchiveDamaged, match="no event"):
        event_of(b"{}", "an object")


@pytest.mark.parametrize("version", [b"[]", b'"1"', b"null", b"1.5"])
def test_a_version_that_is_no_number_is_damage(version: bytes) -> None:
    """Leaving out the events after a version came out as an error of Python."""
    line = b'{"type":"job.queued","subject":"a","version":%s}' % version
    content = encode(First(job="a", log_id="a-log", version=1), [line])
    with pytest.raises(ArchiveDamaged, match="no event"):
        decode(content, "an object")
