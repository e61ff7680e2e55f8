"""What the figures depend on: the machine, how noisy it is, and which program was measured."""

from __future__ import annotations

import os
import platform
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw

from benchmarks.children import run
from benchmarks.client import percentile
from benchmarks.suite import Bench, Figures

SYNCS = 200
PAGE = 4096
PROBES = 15
PROBE_HASHES = 20_000


def facts() -> dict[str, Any]:
    """Return what does not change during a run, without naming the machine."""
    return {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "load average": round(os.getloadavg()[0], 2),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit that is measured, marked when files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return run(command, capture_output=True).stdout.strip()
    except (RuntimeError, OSError):
        return "unknown"


def measure(bench: Bench) -> Figures:
    """Measure the disk's flush and how evenly the processor works, at the start of a round."""
    syncs = flush_seconds(bench.scratch / "flush")
    probes = sorted(probe_seconds() for _ in range(PROBES))
    return {
        "machine/fdatasync of an overwritten page p50 us": percentile(syncs, 0.5) * 1e6,
        "machine/fdatasync of an overwritten page p99 us": percentile(syncs, 0.99) * 1e6,
        "machine/fixed work p50 ms": percentile(probes, 0.5) * 1000,
        "machine/fixed work slowest by fastest": probes[-1] / probes[0],
        "machine/load average": os.getloadavg()[0],
    }


def flush_seconds(path: Path) -> list[float]:
    """Return how long it takes to overwrite one page and flush it, in rising order."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, bytes(PAGE * SYNCS), 0)
        os.fsync(descriptor)
        seconds = []
        for at in range(SYNCS):
            started = time.perf_counter()
            os.pwrite(descriptor, b"x" * PAGE, at * PAGE)
            os.fdatasync(descriptor)
            seconds.append(time.perf_counter() - started)
        return sorted(seconds)
    finally:
        os.close(descriptor)
        path.unlink()


def probe_seconds() -> float:
    """Return how long a fixed piece of work takes; on a quiet machine always the same."""
    started = time.perf_counter()
    text = b""
    for _ in range(PROBE_HASHES):
        text = sha256(text).digest()
    return time.perf_counter() - started
