"""The named statements of a ``.sql`` file, with the prefix of the tables they are for.

A statement stands below a line ``-- name: what_it_does``. ``${g}`` in it is the prefix of the
tables: empty for the live ones, ``g7_`` for those of a build. What makes a statement easy to read
is left out of it: apsw goes over its text for each row, a microsecond for a thousand characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import apsw

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
_ROOM = re.compile(r"\s*([(),=<>]|\s)\s*")


@cache
def named_statements(file_name: str, prefix: str = "") -> dict[str, str]:
    """Return the statements of a file of this package by their names."""
    parts = _NAME.split((Path(__file__).parent / file_name).read_text())
    return {
        name: _compact(name, text).replace("${g}", prefix)
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def statements_of(file_name: str, prefix: str, *names: str) -> dict[str, str]:
    """Return some statements of a file by their names."""
    statements = named_statements(file_name, prefix)
    return {name: statements[name] for name in names}


def delete_rows(
    db: apsw.Connection,
    statements: Mapping[str, str],
    names: Iterable[str],
    entities: Sequence[int],
) -> None:
    """Run the statements that delete the rows of an entity, in their order, for each of some."""
    if entities:
        for name in names:
            db.executemany(statements[name], [(entity,) for entity in entities])


def _compact(name: str, text: str) -> str:
    text = text.strip().rstrip(";")
    # What is made of a schema can be read in the file.
    return text if name == "schema" else _ROOM.sub(r"\1", _COMMENT.sub("", text)).strip()
