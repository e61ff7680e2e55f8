"""Fuzzing with coverage: ``make fuzz [TARGET=NAME] [SECONDS=N]``, a target after the other.

Each target runs in a process of its own, under limits of memory and time for one input. What was
found is written to a directory, as the bytes that find it again: ``make fuzz REPLAY=FILE TARGET=``.
A table of targets, seconds, executions and findings is printed last; the exit code is 1 where
anything was found.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
PATHS = [HERE.parents[1], HERE.parent, HERE]
PATHS += [HERE.parent / each for each in ("intake", "eventlog", "backup", "projections")]
"""Where the modules are that the targets use, as pytest would find them."""
FINDINGS = Path(".fuzz")
RSS_MB_MAX = 2_048
"""An input for which the process takes more memory is a finding."""
INPUT_SECONDS_MAX = 20
"""An input that takes longer is a finding."""
INPUT_BYTES_MAX = 256 * 1024
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERAGE = re.compile(r"cov: (\d+)")


class Outcome(NamedTuple):
    """What came of one target: how long it ran, how many inputs, edges covered, files found."""

    target: str
    seconds: float
    executions: int
    covered: int
    findings: list[Path]

    def row(self) -> str:
        """Return the outcome as a row of the table."""
        rate = self.executions / max(self.seconds, 0.001)
        return (
            f"{self.target:<24} {self.seconds:>8.0f} {self.executions:>12,} {rate:>9,.0f}"
            f" {self.covered:>9,} {len(self.findings):>9}"
        )


HEADING = (
    f"{'target':<24} {'seconds':>8} {'executions':>12} {'a second':>9} {'covered':>9}"
    f" {'findings':>9}"
)


def told(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def fuzz(name: str, seconds: int, seed: int) -> Outcome:
    """Run one target in a process of its own, and keep what it finds."""
    folder = FINDINGS / name
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as corpus:
        command = [sys.executable, str(HERE), "--child", name, "--corpus", corpus]
        command += ["--seconds", str(seconds), "--seed", str(seed), "--findings", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    ended = time.monotonic()
    executions = _EXECUTIONS.search(done.stderr)
    covered = _COVERAGE.findall(done.stderr)
    found = sorted(set(folder.iterdir()) - before)
    if done.returncode or found or not executions:
        told(done.stdout[-4_000:] + done.stderr[-8_000:])
    if (done.returncode or not executions) and not found:
        (folder / "ended").write_text(done.stderr)
        found = [folder / "ended"]
    return Outcome(
        name,
        ended - started,
        int(executions[1]) if executions else 0,
        int(covered[-1]) if covered else 0,
        found,
    )


def run_child(name: str, corpus: Path, seconds: int, seed: int, findings: Path) -> None:
    """Fuzz a target in this process until its time is over; libFuzzer ends the process."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["daemon", "domain", "projections"]):
        from fuzz_targets import TARGETS
    from fuzz_mutations import Mutator

    logging.disable(logging.CRITICAL)
    target = TARGETS[name]
    seeds = list(target.seeds())
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number:04}").write_bytes(content)

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        generator = random.Random(number)
        if generator.random() < 0.3:
            return bytes(atheris.Mutate(data, max_size))
        mutator = Mutator(generator, [data, generator.choice(seeds)], target.words)
        return mutator.mutate(data, json=target.json)[:max_size]

    def one(data: bytes) -> None:
        target.run(bytes(data))

    arguments = [
        *(sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-seed={seed}"),
        *(f"-rss_limit_mb={RSS_MB_MAX}", f"-timeout={INPUT_SECONDS_MAX}"),
        *(f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={findings}/", "-print_final_stats=1"),
    ]
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


def replay(name: str, path: Path) -> None:
    """Run a target over one file, as it is, without any instrument."""
    from fuzz_targets import TARGETS

    told(f"taken: {TARGETS[name].run(path.read_bytes())}")


def main() -> int:
    """Do what was asked; return the exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--target", default="", help="names, separated by commas; else all")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--replay", type=Path, help="a file that was found")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--findings", type=Path, help=argparse.SUPPRESS)
    asked: Any = parser.parse_args()
    sys.path[:0] = map(str, PATHS)
    if asked.child:
        run_child(asked.child, asked.corpus, asked.seconds, asked.seed, asked.findings)
        return 0
    if asked.replay:
        replay(asked.target, asked.replay)
        return 0
    from fuzz_targets import TARGETS

    names = asked.target.split(",") if asked.target else list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        told(f"no such target: {', '.join(unknown)}; there are: {', '.join(TARGETS)}")
        return 2
    told(f"seed {asked.seed}, {asked.seconds} s each\n{HEADING}")
    outcomes = []
    for name in names:
        outcomes.append(fuzz(name, asked.seconds, asked.seed))
        told(outcomes[-1].row())
    found = [path for each in outcomes for path in each.findings]
    told(f"{len(outcomes)} targets, {sum(each.executions for each in outcomes):,} executions, "
         f"{len(found)} findings")  # fmt: skip
    for path in found:
        told(f"  {path}")
    return 1 if found else 0


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
