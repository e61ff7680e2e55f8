"""The benchmarks still run, and measure what their description says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean

from benchmarks.report import YARDSTICK
from benchmarks.workload import structured_events
from domain.cloudevents import from_batch
from domain.limits import Limits


def test_the_events_are_the_same_for_a_seed_and_as_described(repository: Path) -> None:
    """The workload is valid, repeats itself, and has the sizes that DESIGN.md names."""
    events = list(structured_events(10_000, 1))
    assert events == list(structured_events(10_000, 1))
    assert events != list(structured_events(10_000, 2))
    assert len(from_batch(b"[" + b",".join(events) + b"]", Limits())) == len(events)
    sizes = [len(event) for event in structured_events(100_000, 1)]
    said = f"{min(sizes)} to {max(sizes)} bytes as structured JSON, {mean(sizes):.0f} on average"
    assert said in " ".join((repository / "benchmarks" / "DESIGN.md").read_text().split())


def test_a_quick_run_reports_every_figure(repository: Path, tmp_path: Path) -> None:
    """One small round goes through intake, catch-up and rebuild, and reports each as a ratio."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--results", str(tmp_path)]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = {line.split(" | ")[0].strip("| "): line for line in run.stdout.splitlines()}
    for name, raw in YARDSTICK.items():
        assert re.search(rf"[0-9.]+ x {re.escape(raw.removesuffix(' events/s'))}", rows[name])
    (result,) = tmp_path.glob("*.json")
    (figures,) = json.loads(result.read_text())["rounds"]
    assert set(figures) < set(rows)
    assert all(value > 0 for value in figures.values())
    assert not (tmp_path / "scratch").exists()
