"""``chronicled workflows check``: what it prints, and what it exits with."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import chronicled, document

GOOD = '[[phase]]\ntask = "load"\nrule = "cron=@daily"\ntemplate = "?day={yyyy}"\n'
WARNING = GOOD.replace("?day={yyyy}", "?day={year}")
ERROR = GOOD.replace("daily", "dayly")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory with a good file."""
    (tmp_path / "etl").mkdir()
    (tmp_path / "etl/good.toml").write_text(GOOD)
    return tmp_path


def test_good_files_are_quiet(root: Path) -> None:
    """Nothing is printed where nothing is wrong, but the count on stderr."""
    done = chronicled("workflows", "check", root)
    assert done.stdout == ""
    assert done.stderr == "1 file: 0 errors, 0 warnings\n"


def test_findings_have_file_phase_severity_and_code(root: Path) -> None:
    """One line a finding, in a form that machines can take apart; errors exit with 1."""
    (root / "bad.toml").write_text(GOOD + ERROR.replace("load", "a"))
    (root / "prose.txt").write_text("no toml")
    lines = chronicled("workflows", "check", root, code=1).stdout.splitlines()
    assert lines[0].startswith("bad.toml:1: error bad_cron cron=@dayly: ")
    assert lines[1].startswith("prose.txt: error undecodable ")
    assert len(lines) == 2


def test_warnings_count_where_it_is_strict(root: Path) -> None:
    """A warning is printed and exits with 0; with --strict it exits with 1."""
    (root / "etl/good.toml").write_text(WARNING)
    assert " warning unknown_token " in chronicled("workflows", "check", root).stdout
    chronicled("workflows", "check", "--strict", root, code=1)


def test_single_file_and_json(root: Path) -> None:
    """A file is checked alone; the document has what an event of it would have."""
    answer = document("workflows", "check", root / "etl/good.toml")
    assert answer["ok"] is True
    (file,) = answer["files"]
    assert file["path"] == "good.toml"
    assert len(file["sha256"]) == 64
    assert file["phases"][0]["phase"] == "load"
    assert file["issues"] == []


def test_what_cannot_be_looked_at_is_an_error(root: Path) -> None:
    """A path that is not there, or holds nothing, does not pass as good."""
    lines = chronicled("workflows", "check", root / "nowhere", code=1).stdout
    assert " error unreadable " in lines
    (root / "empty").mkdir()
    chronicled("workflows", "check", root / "empty", code=1)
