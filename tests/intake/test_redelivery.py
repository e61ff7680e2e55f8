"""What is delivered again adds nothing, and what comes in another order ends the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from redelivered import SAMPLES, Receiver

from daemon.intake.formats import FORMATS

ORDERS = 6
"""In how many orders of chance the messages of a format are delivered."""


def test_every_format_has_samples() -> None:
    """A format whose messages are not delivered here is named."""
    assert set(SAMPLES) == set(FORMATS)
    assert all(SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_what_comes_again_adds_nothing(name: str, tmp_path: Path) -> None:
    """Strictly and leniently, in any order and number: the first delivery is all there is."""
    chance = random.Random(name)
    messages = SAMPLES[name]
    for first in ("strict", "lenient"):
        with Receiver(tmp_path / first) as receiver:
            assert getattr(receiver, first)(name, messages) > 0
            known = receiver.states()
            for _ in range(ORDERS):
                again = chance.choices(messages, k=3 * len(messages))
                assert receiver.strict(name, again) == 0
                assert receiver.lenient(name, again) == 0
            assert receiver.states() == known


@pytest.mark.parametrize("name", SAMPLES)
def test_another_order_ends_the_same(name: str, tmp_path: Path) -> None:
    """Jobs, alerts and files are what they are in order, whichever message came first."""
    chance = random.Random(name)
    messages = list(SAMPLES[name])
    orders = [messages, messages[::-1]]
    orders += [chance.sample(messages, len(messages)) for _ in range(ORDERS)]
    found = []
    for number, order in enumerate(orders):
        with Receiver(tmp_path / str(number)) as receiver:
            deliver = receiver.lenient if number % 2 else receiver.strict
            for message in order:
                deliver(name, [message])
                deliver(name, [message])
            found.append(receiver.states())
    assert found[1:] == found[:1] * (len(found) - 1)


def test_what_is_compared_is_there(tmp_path: Path) -> None:
    """Nearly every format says something of a job, an alert or a file, and each of them is said."""
    kinds = set()
    for name, messages in SAMPLES.items():
        with Receiver(tmp_path / name) as receiver:
            receiver.strict(name, messages)
            kinds |= {stream.partition("/")[0] for stream in receiver.states()}
    assert kinds == {"job", "alert", "file"}
