"""Cutting pipes and files into chunks of whole lines."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.cli import lines
from daemon.cli.lines import Chunk, LineChunks, StopRequest


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    """Return a stop request, with the signals as they were afterwards."""
    with StopRequest() as request:
        yield request


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe; whoever closes the writing end replaces it."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def read_file(path: Path, content: bytes) -> list[Chunk]:
    """Return the chunks of a file with this content."""
    path.write_bytes(content)
    with StopRequest() as request, path.open("rb") as file:
        return list(LineChunks(file.fileno(), request))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ")), max_size=60))
def test_chunks_hold_every_line_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[bytes]
) -> None:
    """Whatever the lines are, the chunks hold them in order, numbered without a hole."""
    path = tmp_path_factory.mktemp("lines") / "input"
    chunks = read_file(path, b"".join(line + b"\n" for line in wanted))
    assert [line for chunk in chunks for line in chunk.lines] == wanted
    assert [chunk.start for chunk in chunks] == [0, *(chunk.end for chunk in chunks)][: len(chunks)]
    assert b"".join(chunk.body for chunk in chunks) == path.read_bytes()


def test_an_unfinished_last_line_is_a_line(tmp_path: Path) -> None:
    """The end of the input ends the last line, with or without its newline."""
    (chunk,) = read_file(tmp_path / "input", b"one\ntwo")
    assert chunk == Chunk(0, (b"one", b"two"))


def test_a_fast_input_comes_in_big_chunks(tmp_path: Path) -> None:
    """No chunk is over its bound of lines, and few are far under it."""
    chunks = read_file(tmp_path / "input", b"{}\n" * 9_000)
    assert max(len(chunk.lines) for chunk in chunks) == lines.CHUNK_LINES
    assert len(chunks) <= 6


def test_a_chunk_ends_soon_after_its_bytes_are_enough(tmp_path: Path) -> None:
    """Long lines make a chunk full by its bytes."""
    chunks = read_file(tmp_path / "input", (b"x" * 100_000 + b"\n") * 40)
    assert max(len(chunk.body) for chunk in chunks) < lines.CHUNK_BYTES + 400_000
    assert sum(len(chunk.lines) for chunk in chunks) == 40


def test_a_trickling_pipe_is_passed_on_while_it_is_open(
    pipe: tuple[int, int], stop: StopRequest
) -> None:
    """A line comes out although the pipe stays open and nothing follows."""
    reading, writing = pipe
    chunks = iter(LineChunks(reading, stop))
    os.write(writing, b"one\ntw")
    assert next(chunks) == Chunk(0, (b"one",))
    os.write(writing, b"o\n")
    assert next(chunks) == Chunk(1, (b"two",))
    os.close(writing)
    assert list(chunks) == []


def test_a_signal_ends_the_reading_and_keeps_the_unfinished_line_apart(
    pipe: tuple[int, int], stop: StopRequest
) -> None:
    """After SIGINT the complete lines come out; the start of a line is told, not sent."""
    reading, writing = pipe
    chunks = LineChunks(reading, stop)
    iterator = iter(chunks)
    os.write(writing, b"one\n")
    assert next(iterator) == Chunk(0, (b"one",))
    os.write(writing, b"two\nthr")
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    rest = list(iterator)
    timer.join()
    assert [line for chunk in rest for line in chunk.lines] == [b"two"]
    assert chunks.unfinished == b"thr"
    os.close(writing)


def test_a_second_signal_interrupts_at_once(stop: StopRequest) -> None:
    """Who does not want to wait for the end signals again."""
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(5)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_endless_line_is_cut_and_the_next_line_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: what is over the bound is dropped, counted, and ends with the line."""
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 1000)
    path = tmp_path / "input"
    path.write_bytes(b"a" * 600_000 + b"\nnext\n")
    with StopRequest() as request, path.open("rb") as file:
        chunks = LineChunks(file.fileno(), request)
        found = [line for chunk in chunks for line in chunk.lines]
    assert found == [b"a" * 1000, b"next"]
    assert chunks.cut_lines == 1


def test_a_chunk_divides_into_halves_that_hold_its_lines() -> None:
    """The pieces of a chunk have its lines and its offsets."""
    first, second = Chunk(10, (b"a", b"b", b"c")).smaller()
    assert (first, second) == (Chunk(10, (b"a",)), Chunk(11, (b"b", b"c")))


def test_a_single_line_is_cut_to_its_first_half() -> None:
    """A line that is too large by itself keeps its place and loses its end."""
    assert Chunk(4, (b"abcdef",)).smaller() == (Chunk(4, (b"abc",)),)
