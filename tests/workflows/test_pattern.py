"""File patterns mean what Go's ``filepath.Match`` says they mean."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.workflows.pattern import Pattern, matches

BAD = None
CLICKS = "gs://raw/clicks/*/*/*/*/*.json.gz"

CASES: list[tuple[str, str, bool | None]] = [
    # The whole path, character by character.
    ("", "", True),
    ("", "a", False),
    ("a", "", False),
    ("data.csv", "data.csv", True),
    ("data.csv", "data.csv.gz", False),
    ("data.csv", "old/data.csv", False),
    ("data.csv", "DATA.CSV", False),
    ("data.csv", "dataxcsv", False),
    ("./folder/*.txt", "./folder/a.txt", True),
    ("./folder/*.txt", "folder/a.txt", False),
    ("{a,b}.csv", "a.csv", False),
    ("{a,b}.csv", "{a,b}.csv", True),
    ("a]", "a]", True),
    ("a-b^c", "a-b^c", True),
    # A star: any number of characters, never a slash.
    ("*", "", True),
    ("*", "part-1", True),
    ("*", ".hidden", True),
    ("*", "a/b", False),
    ("*", "/", False),
    ("a*", "a", True),
    ("a*", "a/", False),
    ("*.json", "a.json", True),
    ("*.json", "a.json.json", True),
    ("*.json", ".json", True),
    ("*.json", "a.jsonl", False),
    ("*.json", "d/a.json", False),
    ("*/*", "a/b", True),
    ("*/*", "a", False),
    ("*/*", "/", True),
    ("*/*", "a/b/c", False),
    ("**", "a/b", False),
    ("**", "ab", True),
    ("a/**/b", "a/b", False),
    ("a/**/b", "a/x/b", True),
    ("a/**/b", "a/x/y/b", False),
    ("a*b*c", "a1b2b3c", True),
    ("a*b*c", "a1b2b3c4", False),
    ("*a*a*a", "aaaa", True),
    (CLICKS, "gs://raw/clicks/2026/02/04/06/part-1.json.gz", True),
    (CLICKS, "gs://raw/clicks/2026/02/04/part-1.json.gz", False),
    (CLICKS, "gs://raw/clicks/2026/02/04/06/late/part-1.json.gz", False),
    (CLICKS, "gs://raw/clicks/2026/02/04/06/", False),
    # A question mark: one character, never a slash.
    ("part-?.gz", "part-1.gz", True),
    ("part-?.gz", "part-.gz", False),
    ("part-?.gz", "part-12.gz", False),
    ("a?b", "a/b", False),
    ("a?b", "a\u00e9b", True),
    ("a??b", "a\u00e9b", False),
    ("?", "\U0001f9ec", True),
    # A class: one character of those, or of the others. Unlike the two above it can take a slash.
    ("[abc].csv", "b.csv", True),
    ("[abc].csv", "d.csv", False),
    ("[a-c].csv", "b.csv", True),
    ("[a-c].csv", "-.csv", False),
    ("[0-9a-f]", "e", True),
    ("[^0-9]", "x", True),
    ("[^0-9]", "7", False),
    ("[^0-9]", "", False),
    ("[!0]", "1", False),
    ("[!0]", "!", True),
    ("[a^]", "^", True),
    ("a[/]b", "a/b", True),
    ("a[^x]b", "a/b", True),
    ("[c-a]", "b", False),
    ("[\u03b1-\u03c9]", "\u03b2", True),
    ("[^a]", "\u2603", True),
    ("[*?]", "?", True),
    ("x[*]y", "x*y", True),
    ("x[*]y", "xzy", False),
    ("[[]", "[", True),
    ("[a[]", "[", True),
    # A backslash: the next character as it is, inside a class too.
    (r"a\*b", "a*b", True),
    (r"a\*b", "axb", False),
    (r"\?\[\]", "?[]", True),
    (r"\a", "a", True),
    (r"\\", "\\", True),
    (r"[\]]", "]", True),
    (r"[\-x]", "-", True),
    (r"[x\-z]", "y", False),
    (r"[\^]", "^", True),
    (r"[a-\c]", "b", True),
    # From left to right: each part takes the first place where it fits, and keeps it.
    ("*[/x]*y", "ax/by", False),
    ("*[/x]*y", "a/by", True),
    ("*x*y", "axxy", True),
    # A star skips bytes, so that what is in the middle of a character counts byte by byte.
    ("*??", "\u2603", True),
    ("*??", "\u00e9", False),
    # Malformed, whatever the path is.
    ("[", "a", BAD),
    ("[]", "a", BAD),
    ("[]a]", "]", BAD),
    ("[^]", "a", BAD),
    ("[^]a]", "b", BAD),
    ("[a", "a", BAD),
    ("[a-", "a", BAD),
    ("[a-]", "a", BAD),
    ("[-]", "-", BAD),
    ("[-a]", "-", BAD),
    ("[a-b-c]", "a", BAD),
    ("[^bc", "a", BAD),
    ("[\\", "a", BAD),
    ("[a\\", "a", BAD),
    ("[\\]", "]", BAD),
    ("[\ud800]", "a", BAD),
    ("a\\", "a", BAD),
    ("\\", "\\", BAD),
    ("x[", "y", BAD),
    ("*x*[", "y", BAD),
    ("*.json[", "", BAD),
    ("d/[a", "other", BAD),
]

texts = st.text(st.sampled_from("ab/*?[]^-\\\u00e9"), max_size=12)
paths = st.text(st.sampled_from("ab/\u00e9"), max_size=12)


@pytest.mark.parametrize(("pattern", "path", "expected"), CASES)
def test_pattern_matches_the_whole_path(pattern: str, path: str, expected: bool | None) -> None:
    """Each case of the table gives its answer, or is refused as malformed."""
    if expected is BAD:
        with pytest.raises(ValueError, match=r"class|backslash"):
            matches(pattern, path)
    else:
        assert matches(pattern, path) is expected


def test_table_is_no_table_of_shell_patterns() -> None:
    """A good part of the table is answered otherwise by Python's own shell patterns."""
    other = [
        case
        for case in CASES
        if case[2] is not BAD and fnmatch.fnmatchcase(case[1], case[0]) ^ case[2]
    ]
    assert len(CASES) >= 60
    assert len(other) >= 10


@given(texts, paths, paths)
def test_malformed_is_a_property_of_the_pattern(pattern: str, path: str, other: str) -> None:
    """A pattern is refused for every path or for none."""

    def refused(path: str) -> bool:
        try:
            matches(pattern, path)
        except ValueError:
            return True
        return False

    assert refused(path) == refused(other)


@given(st.text(max_size=20))
def test_escaped_text_matches_itself_alone(text: str) -> None:
    """A path with a backslash before every character is a pattern for that path only."""
    pattern = "".join(f"\\{character}" for character in text)
    assert matches(pattern, text)
    assert not matches(pattern, text + "x")


@given(st.lists(st.sampled_from(["a", "b", "/", "*", "?", "\u00e9"]), max_size=8), paths)
def test_without_classes_a_regular_expression_agrees(parts: list[str], path: str) -> None:
    """Stars, question marks and letters mean what the obvious regular expression means.

    Question marks after a star are left out: there Go counts bytes.
    """
    pattern = re.sub(r"\*[*?]+", "*", "".join(parts))
    meanings = {"*": "[^/]*", "?": "[^/]"}
    regex = "".join(meanings.get(part, re.escape(part)) for part in pattern)
    assert matches(pattern, path) == bool(re.fullmatch(regex, path))


def test_many_stars_take_no_exponential_time() -> None:
    """A pattern made to be slow is answered after few steps for each star."""
    assert not Pattern("*a" * 200 + "b").matches("a" * 4_000)
