"""How answers are printed: tables for people, plain lines for pipes, JSON for machines."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.size.words import readable

STATUS_STYLES = {
    "succeeded": "green",
    "resolved": "green",
    "failed": "red",
    "critical": "bold red",
    "error": "red",
    "lost": "red",
    "open": "red",
    "warning": "yellow",
    "interrupted": "yellow",
    "acknowledged": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
    "queued": "blue",
}
"""Colours of words that mean a state; every other word is left plain."""

NARROW: Final = 16
"""A column is not made narrower than this to fit (characters)."""

_GAP: Final = "  "

# What could move the cursor, change a terminal's state or break a line that should be one line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WHOLE_SECOND = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list: its heading, and the value it takes from an item."""

    heading: str
    value: Callable[[Row], Any]
    right: bool = False
    whole: bool = False
    """Never cut or wrapped on a terminal; for what people copy."""
    state: bool = False
    """A word that is coloured by its meaning."""


def column(heading: str, key: str = "", **options: bool) -> Column:
    """Return a column that shows the field of its own name, or ``key``."""
    field = key or heading
    return Column(heading, lambda item: item.get(field), **options)


def visible(text: str) -> str:
    """Return text whose control characters are shown, not obeyed."""
    return _CONTROL.sub(
        lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text
    )


def plain(value: Any) -> str:
    """Return a value as one piece of a line: ``-`` for nothing, JSON for what has parts."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return visible(str(value))


def short(value: Any) -> str:
    """Return a value for a person: as `plain`, with times to the second and without the T."""
    time = _WHOLE_SECOND.fullmatch(value) if isinstance(value, str) else None
    return f"{time[1]} {time[2]}" if time else plain(value)


def seconds(value: float | None) -> str | None:
    """Return a duration for a person: ``41.4s``, ``5m 25s``, ``3h 12m``."""
    if value is None:
        return None
    if value < 60:
        return f"{value:.3g}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def size(count: float | None) -> str | None:
    """Return a number of bytes for a person: ``812 B``, ``1.24 MB``."""
    return None if count is None else readable(count)


def counted(count: int, thing: str) -> str:
    """Return how many there are of a thing, for people: ``1 snapshot``, ``2 snapshots``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def on_terminal() -> bool:
    """Return whether a person looks at the standard output."""
    return sys.stdout.isatty()


def print_line(text: str = "") -> None:
    """Print one line on the standard output, and pass it on at once."""
    print(text, flush=True)


def notice(text: str) -> None:
    """Tell a person something beside the answer, on stderr."""
    print(visible(text), file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """Print one JSON document; indented where a person looks at it."""
    option = orjson.OPT_INDENT_2 if on_terminal() else 0
    _write(orjson.dumps(document, option=option))


def print_json_lines(documents: Iterable[Any]) -> None:
    """Print each document as one line, and pass the lines on at once."""
    _write(b"\n".join(orjson.dumps(document) for document in documents))


def _write(content: bytes) -> None:
    if content:
        sys.stdout.flush()
        sys.stdout.buffer.write(content + b"\n")
        sys.stdout.buffer.flush()


def print_list(columns: Sequence[Column], items: Iterable[Row], *, label: str = "") -> None:
    """Print items as a table on a terminal, else as lines of tab-separated values.

    ``label`` begins each line where several lists follow one another.
    """
    if not on_terminal():
        for item in items:
            values = [plain(column.value(item)) for column in columns]
            print("\t".join([label, *values] if label else values))
        return
    console = Console(highlight=False)
    headings = [Text(each.heading, style="bold") for each in columns]
    rows = [headings, *([_cell(each, item) for each in columns] for item in items)]
    widths = _widths(columns, rows, console.width)
    for row in rows:
        console.print(_line(columns, row, widths), soft_wrap=True)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Return how wide each column is, so that a row fits where that is possible at all.

    The widest columns give way first. Those that are never cut do not: what people copy may run
    over the edge, where the terminal breaks it.
    """
    widths = [max(row[index].cell_len for row in rows) for index in range(len(columns))]
    excess = sum(widths) + len(_GAP) * (len(columns) - 1) - width
    while excess > 0:
        able = [i for i, each in enumerate(columns) if not each.whole and widths[i] > NARROW]
        if not able:
            break
        widest = max(able, key=lambda index: widths[index])
        second = max((widths[i] for i in able if widths[i] < widths[widest]), default=NARROW)
        cut = min(excess, widths[widest] - max(second, NARROW))
        widths[widest] -= cut
        excess -= cut
    return widths


def _line(columns: Sequence[Column], row: Sequence[Text], widths: Sequence[int]) -> Text:
    cells = []
    for each, cell, width in zip(columns, row, widths, strict=True):
        cell.truncate(width, overflow="ellipsis")
        cell.align("right" if each.right else "left", width)
        cells.append(cell)
    line = Text(_GAP).join(cells)
    line.rstrip()
    return line


def print_fields(item: Row) -> None:
    """Print the fields of one thing, one a line; those without a value are left out."""
    shown = {
        key: value for key, value in item.items() if value or (value == 0 and value is not False)
    }
    if not on_terminal():
        for key, value in shown.items():
            print(f"{key}\t{plain(value)}")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in shown.items():
        table.add_row(key, Text(short(value), style=STATUS_STYLES.get(str(value), "")))
    Console(highlight=False).print(table)


def _cell(each: Column, item: Row) -> Text:
    value = each.value(item)
    style = STATUS_STYLES.get(str(value), "") if each.state else ""
    return Text(short(value), style=style)
