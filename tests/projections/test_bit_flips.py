"""One flipped bit anywhere: verification names the place, or nothing differs that can be seen."""

from __future__ import annotations

import re
from pathlib import Path

import damaged_files
import pytest

from daemon.replay.verify import Report

BLOCKS = range(10)
SEEDS = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return a folder with a log and its views, which no test changes, and the head."""
    folder = tmp_path_factory.mktemp("made")
    return folder, damaged_files.make(folder)


def names(report: Report, position: int) -> bool:
    """Return whether a finding names a position, by itself or within a run of them."""
    for finding in report.findings:
        numbers = [int(each) for each in re.findall(r"positions? (\d+)", finding.detail)]
        first = finding.position
        runs = re.findall(r"positions (\d+) to (\d+)", finding.detail)
        if first is not None:
            to = re.findall(r"to position (\d+)", finding.detail)
            numbers.append(first)
            runs += [(first, last) for last in to]
        if position in numbers or any(int(low) <= position <= int(high) for low, high in runs):
            return True
    return False


@pytest.mark.parametrize("block", BLOCKS)
def test_a_flipped_bit_of_the_log_is_located(
    made: tuple[Path, int], tmp_path: Path, block: int
) -> None:
    """An event that differs is named; damaged structure is reported; nothing else is said."""
    folder, head = made
    before = damaged_files.dump_events(folder / "log.db", head)
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        damaged_files.copy(folder, tmp_path)
        where = damaged_files.flip(tmp_path / "log.db", seed)
        report = damaged_files.check(tmp_path)
        said = f"{where}: {report.findings}"
        after = damaged_files.dump_events(tmp_path / "log.db", head)
        differ = [position for position in before if before[position] != after[position]]
        is_whole = damaged_files.whole(tmp_path / "log.db")
        assert all(finding.kind != "views" for finding in report.findings), said
        if differ or not is_whole:
            assert not report.ok, said
        readable = any(after.values())
        if differ and readable:
            missed = [position for position in differ if not names(report, position)]
            assert not missed, f"{missed} of {differ} not named: {said}"


@pytest.mark.parametrize("block", BLOCKS)
def test_a_flipped_bit_of_the_views_is_found(
    made: tuple[Path, int], tmp_path: Path, block: int
) -> None:
    """A row that differs, or damaged structure, is a finding about the views and not the log."""
    folder, _ = made
    before = damaged_files.dump_views(folder / "views.db")
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        damaged_files.copy(folder, tmp_path)
        where = damaged_files.flip(tmp_path / "views.db", seed)
        report = damaged_files.check(tmp_path)
        said = f"{where}: {report.findings}"
        assert all(finding.kind == "views" for finding in report.findings), said
        if damaged_files.dump_views(tmp_path / "views.db") != before or not damaged_files.whole(
            tmp_path / "views.db"
        ):
            assert not report.ok, said
