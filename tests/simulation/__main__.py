"""``python tests/simulation SEED...``: simulate, and say what was found.

Each seed is a world of its own: which faults there are, what clients send, when the process is
killed. The same seed on the same commit is the same run, step by step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import SystemRandom

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "simulation"), str(TESTS / "backup"), str(TESTS), str(TESTS.parent)]

from mutants import MUTANTS  # noqa: E402  the paths come first
from one_seed import Result, simulate  # noqa: E402

SPAWN = get_context("spawn")
SEEDS_A_POOL = 100
"""After so many seeds other processes go on: what one leaves behind is not met by all."""


def say(text: str) -> None:
    """Tell who watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def commit() -> str:
    """Return what code this is."""
    asked = ["git", "-C", str(TESTS), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    """Run the seeds that are asked for; 1 where one of them found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", help="numbers, or ranges such as 1-2000")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--random", type=int, default=0, help="so many more, chosen anew")
    parser.add_argument("--mutants", action="store_true", help="plant each bug in turn")
    parser.add_argument("--mutant", default="", help="plant the bugs of this name")
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets is a part of what happens.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]],
                  os.environ | {"PYTHONHASHSEED": "0"})  # fmt: skip
    new = [SystemRandom().randrange(10**6, 10**9) for _ in range(asked.random)]
    seeds = [*_seeds(asked.seeds), *new]
    say(f"commit {commit()}, {len(seeds)} seeds of {asked.steps} steps; chosen anew: {new}")
    if asked.mutants or asked.mutant:
        return _hunt_all(seeds, asked)
    return _run_all(seeds, asked)


def _seeds(texts: list[str]) -> list[int]:
    seeds: list[int] = []
    for text in texts:
        first, _, last = text.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _run_all(seeds: list[int], asked: argparse.Namespace) -> int:
    fired: Counter[str] = Counter()
    did: Counter[str] = Counter()
    failed, events, lives, began = [], 0, 0, time.monotonic()
    for number, result in enumerate(_simulated(seeds, asked), 1):
        if number % 100 == 0:
            say(f"{number} of {len(seeds)} seeds, {time.monotonic() - began:.0f} s")
        fired += result.fired
        did += result.did
        events, lives = events + result.events, lives + result.lives
        if result.failure:
            failed.append(result.seed)
            say(f"seed {result.seed}: {result.failure}")
        elif len(seeds) <= 20:
            told = f"{result.events} events acknowledged, {result.lives} lives"
            say(f"seed {result.seed}: clean, {told}, trace {result.digest}")
    say(f"faults fired: {dict(fired.most_common())}")
    say(f"steps: {dict(did.most_common())}")
    told = f"{events} events acknowledged, {lives} lives, {time.monotonic() - began:.0f} s"
    say(f"{len(seeds)} seeds, {len(failed)} found something {failed[:20]}; {told}")
    return 1 if failed else 0


def _simulated(seeds: list[int], asked: argparse.Namespace) -> Iterator[Result]:
    """Yield what came of each seed, in order; now and then in processes that are new."""
    run = partial(simulate, steps=asked.steps, verbose=asked.verbose)
    for start in range(0, len(seeds), SEEDS_A_POOL):
        with ProcessPoolExecutor(asked.jobs, mp_context=SPAWN) as pool:
            yield from pool.map(run, seeds[start : start + SEEDS_A_POOL])


def _hunt_all(seeds: list[int], asked: argparse.Namespace) -> int:
    """Plant bugs one after another; 1 where one of them is not found."""
    missed = []
    for name in MUTANTS:
        if asked.mutant not in name:
            continue
        began = time.monotonic()
        with ProcessPoolExecutor(asked.jobs, mp_context=SPAWN) as pool:
            tried, failure = _hunt(pool, seeds, asked.steps, asked.jobs, name)
        said = f"found by seed {tried}: {failure}" if failure else "NOT FOUND"
        say(f"{name}: {said} ({time.monotonic() - began:.0f} s)")
        if not failure:
            missed.append(name)
    return 1 if missed else 0


def _hunt(
    pool: ProcessPoolExecutor, seeds: list[int], steps: int, jobs: int, name: str
) -> tuple[int, str]:
    """Simulate until a seed finds the bug; return which, and what it said."""
    for start in range(0, len(seeds), jobs):
        some = seeds[start : start + jobs]
        for result in pool.map(partial(simulate, steps=steps, mutant=name), some):
            if result.failure:
                return result.seed, result.failure.strip().rpartition("\n")[2][:160]
    return 0, ""


if __name__ == "__main__":
    sys.exit(main())
