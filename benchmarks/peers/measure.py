"""Runs every peer that is installed on the same events; says why where one is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.children import PYTHON, outcome, run
from benchmarks.peers import servers
from benchmarks.peers.servers import MissingError, program
from benchmarks.suite import Bench, Figures

_SQL = dict(
    re.findall(
        r"-- name: (\w+)\n(.*?)(?=\n-- name:|\Z)",
        Path(__file__).with_name("postgres.sql").read_text(),
        re.DOTALL,
    )
)
PGBENCH_SET = (
    "\\set job random(1, 2000000000)\n\\set version 1\n\\set event random(1, 2000000000)\n"
)


def measure(bench: Bench) -> Figures:
    """Measure the peers, one after the other, each with the machine to itself."""
    found: Figures = {}
    peers: dict[str, Callable[[Bench, Path], Figures]] = {
        "eventsourcing": _library,
        "PostgreSQL": _postgres,
        "Redis": _redis,
        "NATS": _nats,
        "Dagster": _dagster,
    }
    if bench.round == 0 and "Prefect" not in bench.scale.left_out:
        # Its start takes longer than all the others together, and it is far from the rest.
        peers["Prefect"] = _prefect
    for name, peer in peers.items():
        try:
            found |= peer(bench, bench.fresh(f"peer-{name}"))
        except (MissingError, RuntimeError, TimeoutError) as error:
            bench.notes[name] = (str(error).strip().splitlines() or [repr(error)])[-1]
    return {f"peers/{name}": value for name, value in found.items()}


def _script(
    bench: Bench, name: str, scratch: Path, at: str | Path = "", python: Path | None = None
) -> Figures:
    """Run a peer's script and return its figures."""
    command = [python or PYTHON, "-m", f"benchmarks.peers.{name}"]
    command += ["--events", bench.load_events("peers", 0.5), "--scratch", scratch]
    seconds = bench.scale.seconds
    found = outcome([*command, "--seconds", str(seconds), "--at", at], scratch / f"{name}.log")
    return {str(key): float(value) for key, value in found.items()}


def peer_interpreter(bench: Bench, module: str) -> Path:
    """Return the interpreter of the peers, if it has a module.

    Raises:
        MissingError: it is not there.

    """
    missing = MissingError(f"{module} is not installed; make bench-peers installs it")
    if not bench.peers.exists():
        raise missing
    try:
        run([bench.peers, "-c", f"import {module}"], capture_output=True)
    except RuntimeError:
        raise missing from None
    return bench.peers


def _library(bench: Bench, scratch: Path) -> Figures:
    return _script(bench, "library", scratch)


def _postgres(bench: Bench, scratch: Path) -> Figures:
    pgbench = program("pgbench")
    with servers.postgres(scratch) as place:
        figures: Figures = {}
        for clients in (64, 1):
            _make_table(place)
            figures |= _pgbench(bench, pgbench, place, scratch, clients)
        _make_table(place)
        try:
            python = peer_interpreter(bench, "asyncpg")
        except MissingError as error:
            bench.notes["asyncpg"] = str(error)
            return figures
        return figures | _script(bench, "asyncpg_rows", scratch, place, python)


def _make_table(place: Path) -> None:
    command = ["psql", "-q", "-h", place, "-U", "bench", "-d", "postgres", "-c", _SQL["table"]]
    run(command, capture_output=True)


def _pgbench(bench: Bench, pgbench: str, place: Path, scratch: Path, clients: int) -> Figures:
    script = scratch / "insert.sql"
    script.write_text(PGBENCH_SET + " ".join(_SQL["insert"].split()) + "\n")
    seconds = str(max(1, round(bench.scale.seconds)))
    command = [pgbench, "-h", place, "-U", "bench", "-n", "-M", "prepared", "-f", script]
    command += ["-c", str(clients), "-j", str(min(2, clients)), "-T", seconds, "postgres"]
    said = run(command, capture_output=True)
    rate = re.search(r"tps = ([0-9.]+)", said.stdout)
    latency = re.search(r"latency average = ([0-9.]+) ms", said.stdout)
    if rate is None or latency is None:
        raise RuntimeError(said.stdout[-200:])
    name = f"pgbench, {clients} client{'s' * (clients > 1)}"
    return {f"{name} events/s": float(rate[1]), f"{name} mean ms": float(latency[1])}


def _redis(bench: Bench, scratch: Path) -> Figures:
    python = peer_interpreter(bench, "redis")
    with servers.redis(scratch) as place:
        return _script(bench, "redis_stream", scratch, place, python)


def _nats(bench: Bench, scratch: Path) -> Figures:
    python = peer_interpreter(bench, "nats")
    with servers.nats(scratch) as place:
        return _script(bench, "nats_stream", scratch, place, python)


def _dagster(bench: Bench, scratch: Path) -> Figures:
    return _script(bench, "dagster_store", scratch, python=peer_interpreter(bench, "dagster"))


def _prefect(bench: Bench, scratch: Path) -> Figures:
    python = peer_interpreter(bench, "prefect")
    with servers.prefect(scratch, python) as place:
        return _script(bench, "prefect_states", scratch, place, python)
