"""The benchmarks still run, count right, and measure what their description says."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import orjson
import pytest

from benchmarks.__main__ import PARTS
from benchmarks.children import child, memory, tree, wait_for
from benchmarks.client import percentile
from benchmarks.client import post as prepare
from benchmarks.load import send, trivial_server
from benchmarks.peers.measure import peer_interpreter
from benchmarks.peers.servers import MissingError
from benchmarks.projection import lags_of
from benchmarks.report import markdown, ratios
from benchmarks.suite import SMOKE, Bench
from benchmarks.targets import TARGETS, Target, table
from benchmarks.workload import structured_events
from domain.cloudevents import from_batch
from domain.limits import Limits

EVENTS = 50_000


@pytest.fixture(scope="module")
def events() -> list[bytes]:
    """Return events of a fixed seed."""
    return list(structured_events(EVENTS, 1))


def test_the_events_are_the_same_for_a_seed(events: list[bytes]) -> None:
    """The same seed gives the same bytes, another one other events altogether."""
    assert list(structured_events(1_000, 1)) == events[:1_000]
    assert not set(structured_events(1_000, 2)) & set(events)


@pytest.mark.parametrize("lean", [False, True])
def test_the_daemon_takes_every_event(lean: bool) -> None:
    """Every event is valid, and no two of them are the same to a log."""
    made = list(structured_events(10_000, 3, lean=lean))
    read = from_batch(b"[" + b",".join(made) + b"]", Limits())
    assert len({(event.stream, event.source, event.id) for event in read}) == len(made)


def test_a_whole_load_leaves_no_job_open() -> None:
    """Where it is asked for, every job that began has its end, or was handed to another."""
    made = map(orjson.loads, structured_events(3_000, 5, window=50, whole=True))
    newest = {each["subject"]: each["type"] for each in made if each["type"].startswith("job.")}
    ends = {f"job.{verb}" for verb in ("succeeded", "failed", "cancelled", "interrupted", "lost")}
    assert set(newest.values()) <= ends | {"job.retried"}
    cut = map(orjson.loads, structured_events(3_000, 5, window=50))
    newest = {each["subject"]: each["type"] for each in cut}
    assert "job.started" in newest.values()


def test_the_mix_is_as_described(repository: Path, events: list[bytes]) -> None:
    """DESIGN.md names the mean size and the share of every type of event, and there is no other."""
    said = " ".join((repository / "benchmarks" / "DESIGN.md").read_text().split())
    assert f"{mean(map(len, events)):.0f} bytes as structured JSON on average" in said
    types = Counter(orjson.loads(event)["type"] for event in events)
    for name, count in types.items():
        assert f"| `{name}` | {count / EVENTS:.1%} |" in said


def test_percentiles_are_values_that_were_measured() -> None:
    """A percentile is the value that this share does not exceed, also of few values."""
    hundred = [float(value) for value in range(1, 101)]
    assert [percentile(hundred, share) for share in (0.5, 0.99, 0.999)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == percentile([7.0], 0.999) == 7.0
    assert percentile([1.0, 2.0], 0.5) == 1.0


def test_prepared_requests_hold_every_event_once(events: list[bytes]) -> None:
    """Events are cut into batches with nothing lost; a single one goes without brackets."""
    bodies = [request.partition(b"\r\n\r\n")[2] for request in prepare(events[:25], 10)]
    assert [len(orjson.loads(body)) for body in bodies] == [10, 10, 5]
    assert prepare(events[:1], 1)[0].endswith(b"\r\n\r\n" + events[0])


@pytest.fixture
def results() -> Iterator[Path]:
    """Return a directory whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="bench") as place:
        yield Path(place)


@pytest.mark.parametrize("options", [{"pipeline": 4}, {"rate": 5_000.0}], ids=["closed", "paced"])
def test_every_request_is_sent_and_answered_once(
    results: Path, events: list[bytes], options: dict[str, float]
) -> None:
    """The client sends each prepared request once, as fast as answers come and at a pace."""
    sent = results / "events.ndjson"
    sent.write_bytes(b"\n".join(events[:105]) + b"\n")
    acks = results / "acks.json"
    with trivial_server(results) as place:
        seen = send(place, results, events=sent, batch=10, clients=2, acks=acks, **options)
    assert seen.requests == 11
    assert len(json.loads(acks.read_text())) == 11
    assert 0 < seen.p50_ms <= seen.p99_ms <= seen.p999_ms <= seen.max_ms


def test_an_answer_that_was_not_expected_ends_the_load(results: Path) -> None:
    """Questions are answered with 200; the 201 that comes instead is an error, not a figure."""
    paths = results / "paths"
    paths.write_text("/api/jobs\n")
    with trivial_server(results) as place, pytest.raises(RuntimeError, match="201 Created"):
        send(place, results, gets=paths)


def test_a_peer_that_is_not_installed_is_skipped_with_a_reason(results: Path) -> None:
    """Without the interpreter of the peers the reason says how to get one."""
    bench = Bench(SMOKE, 1, results, results / "none" / "python")
    with pytest.raises(MissingError, match="make bench-peers"):
        peer_interpreter(bench, "asyncpg")


def test_children_of_children_are_seen(results: Path) -> None:
    """What a process uses is counted with everything below it."""
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with child([sys.executable, "-c", nested], log=results / "log", piped=True) as process:
        wait_for(lambda: len(tree(process.pid)) == 2, "the grandchild")
        assert memory(tree(process.pid)).rss > memory([process.pid]).rss > 0


def test_lags_count_from_the_acknowledgement_to_the_first_sight() -> None:
    """An event shows when the views were first seen at its position or beyond; never before."""
    seen = [(10.0, 0), (11.0, 5), (12.0, 9)]
    assert lags_of([(9.5, 4), (10.5, 5), (10.5, 6), (11.5, 3)], seen) == [0.0, 0.5, 1.5, 1.5]


def made_up() -> list[dict[str, float]]:
    """Return the figures of three rounds on a machine that became slower."""
    return [
        {
            "intake/tcp batches events/s": 50_000.0 / slower,
            "intake/tcp batches p99 ms": 20.0 * slower,
            "limits/plain 100 rows a commit events/s": 100_000.0 / slower,
            "start/0 events, after a kill s": 0.5,
            "start/9 events, after a kill s": 1.5 * slower,
        }
        for slower in (1.0, 2.0, 4.0)
    ]


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that becomes slower changes figures, not their ratios."""
    compared = dict(ratios("intake/tcp batches events/s", made_up()))
    assert compared == {"limits/plain 100 rows a commit events/s": 0.5}


def test_a_target_is_met_or_not_by_what_was_measured() -> None:
    """Bounds hold for medians and for ratios; of several figures the worst one counts."""
    rounds = made_up()
    share = Target(
        "x", "intake/tcp batches events/s", "limits/plain 100 rows a commit events/s", least=0.5
    )
    assert share.measured(rounds) == ("intake/tcp batches events/s", 0.5)
    assert share.met(0.5)
    assert not share.met(0.49)
    start = Target("x", "start/.*, after a kill s", most=2)
    assert start.measured(rounds) == ("start/9 events, after a kill s", 3.0)
    assert not start.met(3.0)
    assert Target("x", "queries/.*", most=1).measured(rounds) is None


def test_every_target_is_in_the_report() -> None:
    """The table has a line for each target, also for what was not measured."""
    lines = table(made_up())[2:]
    assert len(lines) == len(TARGETS)
    assert {line.rsplit("|", 2)[1].strip() for line in lines} == {
        "met",
        "**not met**",
        "not measured",
    }


def test_the_report_shows_medians_and_notes() -> None:
    """Every figure has its median and its spread, and what was not measured has its reason."""
    text = markdown(
        {
            "scale": "full",
            "minutes": 1.0,
            "machine": {"cores": 2},
            "notes": {"Redis": "it is not installed"},
            "rounds": made_up(),
        }
    )
    assert "| tcp batches | 25,000 | 40 | 12,500 to 50,000 | 0.5 x plain 100" in text
    assert "Not measured: Redis: it is not installed." in text


def test_a_small_run_measures_and_reports(repository: Path, results: Path) -> None:
    """A tiny round goes through intake and limits, and leaves both reports and nothing else."""
    command = [sys.executable, "-m", "benchmarks", "--scale", "smoke", "--only", "intake,limits"]
    run = subprocess.run(
        [*command, "--results", str(results)], cwd=repository, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    (written,) = results.glob("*.json")
    assert sorted(path.suffix for path in results.iterdir()) == [".json", ".md"]
    (figures,) = json.loads(written.read_text())["rounds"]
    assert all(value > 0 for value in figures.values())
    for place in ("tcp", "unix", "without projections"):
        for kind in ("sequential", "singles", "batches", "bulk"):
            assert f"intake/{place} {kind} p99.9 ms" in figures
    assert "x our schema at the groups of batches" in run.stdout


def test_the_parts_are_listed_and_a_wrong_one_is_refused(repository: Path) -> None:
    """``--list`` names every part; ``--only`` with another name ends with the names it has."""
    command = [sys.executable, "-m", "benchmarks"]
    listed = subprocess.run([*command, "--list"], cwd=repository, capture_output=True, text=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [part.name for part in PARTS]
    refused = subprocess.run(
        [*command, "--only", "intake,none"], cwd=repository, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "no part none" in refused.stderr
