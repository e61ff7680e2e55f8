"""The sample files: what the script makes, and what they promise to show."""

from __future__ import annotations

import json
from pathlib import Path

from daemon.demo import samples


def lines_of(name: str) -> list[str]:
    """Return the lines of a sample file."""
    return (samples.DIRECTORY / name).read_text(encoding="utf-8").splitlines()


def test_the_files_are_what_the_script_makes(tmp_path: Path) -> None:
    """Nobody edits a sample by hand: the script makes them, byte for byte."""
    samples.write(tmp_path)
    for sample in samples.SAMPLES:
        assert (tmp_path / sample.name).read_bytes() == sample.path.read_bytes()


def test_exactly_one_line_is_broken() -> None:
    """The demo shows one dead letter: the line that a killed worker did not finish."""
    broken = []
    for sample in samples.SAMPLES:
        for line in lines_of(sample.name):
            try:
                json.loads(line)
            except ValueError:
                broken.append((sample.name, line))
    assert broken == [("tasks-done.ndjson", samples.CUT_LINE)]


def test_the_day_has_both_spellings_of_meta_and_every_result() -> None:
    """The tasks show what is hard about them."""
    done = [json.loads(line) for line in lines_of("tasks-done.ndjson")[:-1]]
    metas = [task.get("meta", "") for task in done]
    assert any("workflow=weather/hourly.toml" in meta for meta in metas)
    assert any("workflow=weather%2Fhourly.toml" in meta for meta in metas)
    assert any("retry=failed" in meta and "retried=3" in meta for meta in metas)
    assert {"complete", "error", "warn", "alert", "stuck"} == {task["result"] for task in done}


def test_one_retry_has_the_second_of_its_first_attempt() -> None:
    """Two attempts of one task were created in the same second; only meta tells them apart."""
    todo = [json.loads(line) for line in lines_of("tasks-todo.ndjson")]
    keys = [(task["type"], task["id"], task["created"]) for task in todo]
    assert len(keys) - len(set(keys)) == 1
