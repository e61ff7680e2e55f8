"""Real workflow files: the findings that a careful reader makes, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.workflows.workflow_file import read_workflow

ONLY_ASKED_FOR = ("warning", "no_trigger")
BARE_CRON = ("error", "bare_cron")

FINDINGS: dict[str, list[tuple[int | None, str, str]]] = {
    # A backload of three days whose span stands behind a question mark; a file of presidents
    # under a key that is spelt otherwise; nothing of it starts by itself.
    "batch.toml": [
        (0, "error", "unknown_rule_key"),
        (0, *ONLY_ASKED_FOR),
        (1, "error", "unknown_rule_key"),
        (1, *ONLY_ASKED_FOR),
        (2, *ONLY_ASKED_FOR),
    ],
    # Prose.
    "invalid.toml": [(None, "error", "undecodable")],
    "nested/f1.toml": [],
    # A schedule without its key, a child without its parent and with too many braces, and one more
    # without a parent.
    "nested/group/f3.toml": [
        (0, *BARE_CRON),
        (1, *ONLY_ASKED_FOR),
        (1, "error", "doubled_braces"),
        (2, *ONLY_ASKED_FOR),
    ],
    # Two schedules, two jobs of one topic, four children: as it should be.
    "workflows/f1.toml": [],
    "workflows/f2.toml": [(0, *BARE_CRON), (1, *ONLY_ASKED_FOR), (2, *ONLY_ASKED_FOR)],
    # Two batches that only a backload starts.
    "workflows/f3.toml": [(3, *ONLY_ASKED_FOR), (4, *ONLY_ASKED_FOR)],
    # The last phase has no template.
    "workflows/jobs.toml": [(4, "warning", "no_template")],
}

PHASES = {
    "nested/f1.toml": ["task1:t2", "task2", "task3", "task4"],
    "workflows/f1.toml": ["task1:t2", "task2", "task3", "task4", "task1:t4", "task5:t5", "task6"],
    "workflows/jobs.toml": [
        "worker:parent_job", "worker:child1", "worker:child2", "worker:child3", "worker:job",
    ],
}  # fmt: skip


@pytest.fixture
def files(real_data: Path) -> Path:
    """Return the directory of real workflow files, or skip."""
    return real_data / "flowlord"


@pytest.mark.parametrize("name", FINDINGS)
def test_findings_are_those_of_a_careful_reader(files: Path, name: str) -> None:
    """Each real file has just the findings that were written down by hand."""
    found = read_workflow((files / name).read_bytes()).issues
    assert [(issue.phase, issue.severity, issue.code) for issue in found] == FINDINGS[name]


def test_every_real_file_is_looked_at(files: Path) -> None:
    """No real workflow file is left out above."""
    assert {path.relative_to(files).as_posix() for path in files.rglob("*.toml")} == set(FINDINGS)


@pytest.mark.parametrize("name", PHASES)
def test_phases_are_named_by_topic_and_job(files: Path, name: str) -> None:
    """A job out of the task or out of the rule makes the name, in the order of the file."""
    workflow = read_workflow((files / name).read_bytes())
    assert [phase.name for phase in workflow.phases] == PHASES[name]
