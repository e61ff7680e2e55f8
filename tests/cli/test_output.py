"""Printing: nothing that came from outside can move a cursor, and errors say where."""

from __future__ import annotations

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cli.connection import alert_path, job_path
from daemon.cli.failures import SHOWN_FAULTS_MAX, CommandError
from daemon.cli.output import column, plain, print_fields, print_list, seconds, short, size, visible
from domain.errors import Fault, UnknownField


@given(st.text())
def test_visible_text_is_one_harmless_line(text: str) -> None:
    """No control character survives, and text without any is left as it is."""
    shown = visible(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    if text.isascii() and text.isprintable():
        assert shown == text


def test_an_escape_sequence_is_shown_not_obeyed() -> None:
    """A job's name cannot clear the screen."""
    assert visible("a\x1b[2Jb\r\n") == "a\\x1b[2Jb\\r\\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), ("", "-"), (True, "yes"), (0, "0"), (2.50, "2.5"), ({"a": [1]}, '{"a":[1]}')],
)
def test_every_kind_of_value_is_one_piece(value: object, shown: str) -> None:
    """Nothing, booleans, numbers and objects have one spelling each."""
    assert plain(value) == shown


def test_times_are_short_for_people_only() -> None:
    """A table shows seconds; a pipe gets the time as it is."""
    time = "2026-02-04T10:05:31.250000Z"
    assert short(time) == "2026-02-04 10:05:31"
    assert plain(time) == time


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, None), (0, "0 B"), (999, "999 B"), (1_240_000, "1.24 MB"), (999_999, "1 MB")],
)
def test_sizes_are_short_for_people(value: int | None, shown: str | None) -> None:
    """Three digits and the unit that fits."""
    assert size(value) == shown
    assert size(12_345 * 10**12) == "1.23e+04 TB"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, None), (0, "0s"), (41.37, "41.4s"), (325, "5m 25s"), (11_520, "3h 12m")],
)
def test_durations_are_read_at_a_glance(value: float | None, shown: str | None) -> None:
    """Seconds, minutes and seconds, hours and minutes."""
    assert seconds(value) == shown


def test_a_list_in_a_pipe_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    """One line an item, one column a tab, whatever the values hold."""
    items = [{"id": "a\tb", "n": 1}, {"id": "line\nbreak", "n": None}]
    print_list([column("id"), column("n")], items)
    assert capsys.readouterr().out == "a\\tb\t1\nline\\nbreak\t-\n"


def test_a_table_shows_headings_and_every_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal there are headings, and ids are never cut."""
    monkeypatch.setattr("daemon.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    items = [{"id": "i" * 40, "text": "[bold]long[/bold] " * 30}]
    print_list([column("id", whole=True), column("text")], items)
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["id", "text"]
    assert "i" * 40 in row
    assert "[bold]long" in row
    assert len(row) <= 60


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not known takes no line; zero is known."""
    print_fields({"id": "a", "owner": None, "links": [], "run_seconds": 0})
    assert capsys.readouterr().out == "id\ta\nrun_seconds\t0\n"


def test_a_problem_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Title and detail, each fault with its place, and what to do about it."""
    problem = {
        "title": "Unknown field",
        "detail": "unknown field 'stats'",
        "hint": "Correct the name.",
        "errors": [{"index": 3, "pointer": "/data/stats", "detail": "did you mean 'status'?"}],
    }
    response = httpx.Response(422, content=orjson.dumps(problem))
    CommandError.of_answer(response).show()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "Error: Unknown field: unknown field 'stats'",
        "  event 3 /data/stats: did you mean 'status'?",
        "Hint: Correct the name.",
    ]


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway\x1b[2J</html>", b"[1]", b'{"errors":7}'])
def test_an_answer_of_something_else_is_an_error_too(
    body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proxy's page or an empty body makes no traceback and no escape sequence."""
    CommandError.of_answer(httpx.Response(502, content=body)).show()
    shown = capsys.readouterr().err
    assert "HTTP 502" in shown
    assert "\x1b" not in shown


def test_many_faults_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A long list of faults ends with how many there are besides."""
    error = UnknownField("many", errors=[Fault("x", index=n) for n in range(SHOWN_FAULTS_MAX + 5)])
    CommandError.of_error(error).show()
    assert "  and 5 more\n" in capsys.readouterr().err


def test_ids_are_one_path_segment() -> None:
    """Slashes, dots, question marks and hashes in an id stay in the id."""
    assert job_path("a/../b?c#d e%2F") == "/api/jobs/a%2F..%2Fb%3Fc%23d%20e%252F"
    assert alert_path("ü") == "/api/alerts/%C3%BC"
