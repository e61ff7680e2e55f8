"""The rules of a tidy tree that no linter here has: each yields (line, what is wrong)."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
FOLDERS = ("domain", "projections", "daemon", "systemd", "tests", "benchmarks", "docs", ".ci")
BINARY = {".db", ".gz", ".png", ".ico", ".pyc", ".sqlite"}
MAY_PRINT = ("daemon/cli/", "benchmarks/")
MAY_POLL = ("daemon/lock.py", "daemon/cli/connection.py")
"""These wait, bounded, for another process that has no way to wake them."""

Offence = tuple[int, str]


@dataclass(frozen=True)
class Source:
    """One file of the project: its path from the top, and its text."""

    path: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The text by lines."""
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; empty for what is not Python."""
        return ast.parse(self.text if self.path.endswith(".py") else "")

    @property
    def is_test(self) -> bool:
        """Whether the file belongs to the tests."""
        return self.path.startswith("tests/")

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def sources(top: Path) -> list[Source]:
    """Return every text file of the project."""
    found = [path for path in top.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (top / folder).rglob("*") if path.is_file()]
    return [
        Source(path.relative_to(top).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(found)
        if path.suffix not in BINARY and not {"results", "__pycache__"} & set(path.parts)
    ]


def long_lines(source: Source) -> Iterator[Offence]:
    """Yield lines over the limit; an address, and a table or code in Markdown, may be wide."""
    if source.path.endswith((".lock", ".json", ".ndjson", "LICENSE")):
        return
    fenced = False
    for number, line in enumerate(source.lines, 1):
        if source.path.endswith(".md"):
            fenced ^= line.lstrip().startswith("```")
            if fenced or line.lstrip().startswith("|"):
                continue
        if len(line) > COLUMNS_MAX and "://" not in line:
            yield number, f"{len(line)} columns"


def long_functions(source: Source) -> Iterator[Offence]:
    """Yield functions over the limit."""
    for function in source.functions():
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES_MAX:
            yield function.lineno, f"{function.name} has {length} lines"


def long_files(source: Source) -> Iterator[Offence]:
    """Yield code files over the limit."""
    if source.path.endswith((".py", ".sql")) and len(source.lines) > FILE_LINES_MAX:
        yield len(source.lines), "the file is too long"


def prints(source: Source) -> Iterator[Offence]:
    """Yield calls of print where no person reads them."""
    if source.path.startswith(MAY_PRINT):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield node.lineno, "print"


def bare_excepts(source: Source) -> Iterator[Offence]:
    """Yield handlers that name no exception."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"


def sleeps(source: Source) -> Iterator[Offence]:
    """Yield sleeps: what waits, waits on a signal, a condition or a deadline.

    ``asyncio.sleep(0)`` waits for nothing: it lets the other tasks run.
    """
    if source.path in MAY_POLL:
        return
    called = {"time.sleep", "sleep"} | ({"asyncio.sleep"} if source.is_test else set())
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or ast.unparse(node) == "asyncio.sleep(0)":
            continue
        if ast.unparse(node.func) in called:
            yield node.lineno, ast.unparse(node)


def missing_docstrings(source: Source) -> Iterator[Offence]:
    """Yield modules, public classes and functions, and tests, that do not say what they are."""
    if not source.path.endswith(".py"):
        return
    if not ast.get_docstring(source.tree):
        yield 1, "the module has no docstring"
    for name, node in _public(source.tree):
        if not ast.get_docstring(node):
            yield node.lineno, f"{name} has no docstring"


def _public(
    tree: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield public classes and functions of a module, and their methods; overloads apart."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
        if node.name.startswith("_") or marks & {"overload", "override"}:
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node, f"{node.name}.")


# Written in two parts, so that this file does not offend its own rule.
_LEFTOVERS = [
    re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"),
    re.compile(r"(?<![\w.])/(?:root|home|Users|work)/\w|\.\./" r"shared"),
    re.compile(r"pypi\." r"org|python" r"hosted|--(extra-)?index" r"-url|--find" r"-links"),
]


def leftovers(source: Source) -> Iterator[Offence]:
    """Yield markers of unfinished work, paths of one machine, and names of package registries."""
    for number, line in enumerate(source.lines, 1):
        for pattern in _LEFTOVERS:
            if match := pattern.search(line):
                yield number, match[0]


RULES: tuple[Callable[[Source], Iterator[Offence]], ...] = (
    long_lines,
    long_functions,
    long_files,
    prints,
    bare_excepts,
    sleeps,
    missing_docstrings,
    leftovers,
)
