"""The tree is tidy: limits on size, no leftovers, everything says what it is."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from tidy_rules import RULES, Source, sources

LONG = "x" * 101
BODY = "    x = 1\n" * 70
OFFENDERS = {
    "long_lines": ("domain/a.sql", f"-- {LONG}\n"),
    "long_functions": ("domain/a.py", f"def f():\n{BODY}"),
    "long_files": ("domain/a.py", "x = 1\n" * 501),
    "prints": ("domain/a.py", "print(1)\n"),
    "bare_excepts": ("domain/a.py", "try:\n    x = 1\nexcept:\n    x = 2\n"),
    "sleeps": ("tests/a.py", "import asyncio\nawait asyncio.sleep(1)\n"),
    "missing_docstrings": ("tests/a.py", '"""A."""\ndef test_a():\n    assert x\n'),
    "leftovers": ("docs/a.md", "see /home/" + "me/notes\n"),
}
INNOCENT = {
    "long_lines": ("docs/a.md", f"| {LONG} |\n```\n{LONG}\n```\n"),
    "long_functions": ("domain/a.py", f"def f():\n{BODY[:-10]}"),
    "long_files": ("domain/a.py", "x = 1\n" * 500),
    "prints": ("daemon/cli/a.py", "print(1)\n"),
    "bare_excepts": ("domain/a.py", "try:\n    x = 1\nexcept ValueError:\n    x = 2\n"),
    "sleeps": ("tests/a.py", "import asyncio\nawait asyncio.sleep(0)\n"),
    "missing_docstrings": ("domain/a.py", '"""A."""\ndef _a():\n    x = 1\n'),
    "leftovers": ("docs/a.md", "see https://example.org/home/page\n"),
}


@pytest.fixture(scope="module")
def tree(repository: Path) -> list[Source]:
    """Return every text file of the project."""
    return sources(repository)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule, tree: list[Source]) -> None:
    """No file of the project breaks the rule; every offender is reported at once."""
    offences = [f"{s.path}:{line}: {what}" for s in tree for line, what in rule(s)]
    assert not offences, "\n" + "\n".join(offences)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_its_offender(rule) -> None:
    """Each rule finds exactly the planted offender, and leaves what is allowed alone."""
    assert len(list(rule(Source(*OFFENDERS[rule.__name__])))) == 1
    assert not list(rule(Source(*INNOCENT[rule.__name__])))


def test_every_folder_of_code_is_looked_at(tree: list[Source]) -> None:
    """The walk really reaches the source, the tests, the SQL and the top-level files."""
    paths = {source.path for source in tree}
    assert {"domain/errors.py", "tests/test_tidy.py", "pyproject.toml", "Makefile"} <= paths
    assert any(path.endswith(".sql") for path in paths)


PROGRAMS = ("conftest.py", "__main__.py")
"""Files that pytest takes by their place, and those that are run and not imported."""


def test_names_of_test_files_are_unique(tree: list[Source]) -> None:
    """No two test modules share a name, which pytest without packages could not tell apart."""
    places = defaultdict(list)
    for source in tree:
        name = Path(source.path).name
        if source.is_test and name.endswith(".py") and name not in PROGRAMS:
            places[name].append(source.path)
    assert not [paths for paths in places.values() if len(paths) > 1]
