"""The targets of fuzzing, a short stretch of each: their corpus, and seeded mutations of it.

The long form, led by coverage, is ``make fuzz``.
"""

from __future__ import annotations

import os
import random

import pytest
from fuzz_mutations import LARGEST, Mutator
from fuzz_target import Target, check_clear
from fuzz_targets import TARGETS

from daemon.intake.formats import FORMATS
from domain.errors import ChronicledError, Invalid

INPUTS = int(os.environ.get("CHRONICLED_FUZZ_INPUTS", "1000"))
"""Mutations of a quick target; one that takes long gets fewer."""
SLOW = {
    "backup-restore": 0.1,
    "backup-segment": 0.1,
    "configuration": 0.2,
    "cursor": 0.3,
    "export": 0.15,
    "intake-alertmanager": 0.3,
    "intake-bakta-job-result": 0.3,
    "intake-openlineage": 0.4,
    "intake-pubsub-push": 0.05,
    "intake-to-views": 0.2,
}
SEEDS = (8, 9)
"""What the mutations follow from; ``make fuzz`` tries new ones."""


def inputs_of(target: Target, seed: int) -> list[bytes]:
    """Return the mutations that a seed makes of a target's corpus."""
    mutator = Mutator(random.Random(seed), target.seeds(), target.words)
    count = int(INPUTS * SLOW.get(target.name, 1.0)) // len(SEEDS)
    return [mutator.next(json=target.json) for _ in range(count)]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_corpus(name: str) -> None:
    """What the code itself wrote reaches what a target is for: it is not refused at the door."""
    taken = [TARGETS[name].run(content) for content in TARGETS[name].seeds()]
    assert sum(taken) >= len(taken) / 2


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_stands_mutations(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever becomes of valid inputs, it is taken or refused by a clear error of ours."""
    caplog.set_level("CRITICAL")
    for seed in SEEDS:
        for number, content in enumerate(inputs_of(TARGETS[name], seed)):
            try:
                TARGETS[name].run(content)
            except Exception as error:  # noqa: BLE001  any is a finding
                pytest.fail(f"seed {seed}, input {number}: {error!r} of {content[:2000]!r}")


def test_every_format_is_a_target() -> None:
    """A new format of intake is fuzzed from its first day."""
    assert {f"intake-{name}" for name in FORMATS} <= set(TARGETS)


def test_the_same_seed_makes_the_same_inputs() -> None:
    """What a seed found it finds again."""
    target = TARGETS["intake-flowlord-task"]
    assert inputs_of(target, 1) == inputs_of(target, 1) != inputs_of(target, 2)
    assert all(len(content) <= LARGEST for content in inputs_of(target, 1))


def test_an_unclear_error_is_a_finding() -> None:
    """An internal error, an error without words, and one without bounds do not pass."""
    check_clear(Invalid("it is not right"))
    for error in (ChronicledError("oops"), Invalid(""), Invalid("x" * 30_000)):
        with pytest.raises(AssertionError):
            check_clear(error)
