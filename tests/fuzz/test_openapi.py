"""Nothing that the OpenAPI document lets anyone ask is answered otherwise than it says.

A short run is a part of the tests. ``make fuzz-api CASES=20000`` runs so many cases, from a seed of
its own unless ``SEED`` gives one, and prints both.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Final

import pytest
from daemon_process import DaemonProcess
from full_daemon import full_daemon, known_values, operate
from openapi_fuzzing import PHASES, RANDOM_PHASES, Outcome, fuzz
from relay import Relay

SEED: Final = 20260204
LONG: Final = "CHRONICLED_FUZZ_CASES"
LONG_SEED: Final = "CHRONICLED_FUZZ_SEED"
EXAMPLES: Final = 5
EXAMPLES_LONG: Final = 40
LARGE: Final = "POST /api/events"
"""The bounds of an event's schema in all of its content types make 6,000 cases: the short run
leaves them out, and makes random ones only."""


def run(daemon: DaemonProcess, relay: Relay, *, seed: int, cases: int) -> Outcome:
    """Run rounds until there were so many cases; the first one goes through the whole document."""
    with daemon.client(unix=True) as client:
        values = known_values(client)
    examples = EXAMPLES_LONG if cases else EXAMPLES
    left_out = () if cases else (LARGE,)
    whole = fuzz(relay.url, values, seed=seed, examples=examples, phases=PHASES, left_out=left_out)
    sys.stdout.write(f"\nround 1, {whole.head()}\n")
    sys.stdout.flush()
    rounds = 1
    while whole.cases < cases and whole.good:
        rounds += 1
        more = fuzz(
            relay.url, values, seed=seed + rounds - 1, examples=examples, phases=RANDOM_PHASES
        )
        sys.stdout.write(f"round {rounds}, {more.head()}\n")
        sys.stdout.flush()
        assert more.cases, "a round without a case"
        whole.add(more)
    return whole


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of what it draws, not ours
@pytest.mark.timeout(0 if LONG in os.environ else 300)
def test_every_answer_is_as_the_document_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No 5xx, no status and no shape that is not described, and the log is whole afterwards."""
    cases = int(os.environ.get(LONG, "0"))
    drawn = random.randrange(2**31) if cases else SEED
    seed = int(os.environ.get(LONG_SEED) or drawn)
    with full_daemon(tmp_path) as daemon, Relay(daemon.socket_path) as relay, capsys.disabled():
        outcome = run(daemon, relay, seed=seed, cases=cases)
        sys.stdout.write(f"in all, {outcome.report()}\n")
        with daemon.client(unix=True) as client:
            verified = operate(client, "verify")["result"]
            ready = client.get("/readyz").json()
        said = daemon.stderr()
    assert outcome.good, outcome.report()
    assert outcome.cases >= (cases or 2_000)
    assert verified["ok"], verified
    assert ready["log"]["ok"], ready
    assert "a request failed" not in said
    assert "Traceback" not in said
