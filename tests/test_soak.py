"""The soak: a short run holds what a long one has to, and what does not hold is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from log_driving import drive

from benchmarks.acknowledged import Acknowledged
from benchmarks.followers import Follower
from benchmarks.resident import MEGABYTE, Resident
from daemon.eventlog.log import EventLog
from domain.cloudevents import from_ndjson
from domain.limits import Limits


@pytest.mark.timeout(300)
def test_a_short_soak_loses_nothing(repository: Path, tmp_path: Path) -> None:
    """Under steady load, a burst, readers and followers all that is acknowledged is in the log."""
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.08", "--rate", "100"]
    done = subprocess.run(
        [*command, "--seed", "1", "--folder", str(tmp_path)],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "acknowledged events are there; the log verifies" in done.stdout
    assert not list(tmp_path.iterdir())


def lines(*numbers: int) -> list[bytes]:
    """Return events as they are sent."""
    return [
        orjson.dumps(
            {"specversion": "1.0", "id": str(number), "source": "/s", "type": "job.submitted",
             "subject": f"job-{number}", "data": {"kind": "k"}}
        )
        for number in numbers
    ]  # fmt: skip


def test_a_lost_event_is_found(tmp_path: Path) -> None:
    """An acknowledged event that the log does not have is named."""
    log = EventLog.open(tmp_path / "log.db")
    drive(log, from_ndjson(b"\n".join(lines(1, 3)), Limits()))
    log.close()
    kept = Acknowledged(tmp_path / "acknowledged.db")
    kept.add(lines(1, 2, 3))
    assert kept.missing(tmp_path / "log.db") == ["1 acknowledged events are lost, such as 2"]
    whole = Acknowledged(tmp_path / "others.db")
    whole.add(lines(1, 3))
    assert whole.missing(tmp_path / "log.db") == []


@pytest.mark.parametrize(
    "change", [{"data": {"kind": "other"}}, {"type": "job.cancelled", "data": {}}]
)
def test_an_event_that_is_not_as_it_was_sent_is_found(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """An acknowledged event with another payload, or of another type, is named."""
    log = EventLog.open(tmp_path / "log.db")
    changed = orjson.dumps({**orjson.loads(lines(2)[0]), **change})
    drive(log, from_ndjson(b"\n".join([*lines(1), changed, *lines(3)]), Limits()))
    log.close()
    kept = Acknowledged(tmp_path / "acknowledged.db")
    kept.add(lines(1, 2, 3))
    told = ["1 acknowledged events are not as they were sent, such as 2"]
    assert kept.missing(tmp_path / "log.db") == told


def test_an_event_of_another_subject_is_found(tmp_path: Path) -> None:
    """What is in another stream than that it was sent to, is lost."""
    log = EventLog.open(tmp_path / "log.db")
    changed = orjson.dumps({**orjson.loads(lines(2)[0]), "subject": "job-1"})
    drive(log, from_ndjson(b"\n".join([*lines(1), changed]), Limits()))
    log.close()
    kept = Acknowledged(tmp_path / "acknowledged.db")
    kept.add(lines(1, 2))
    assert kept.missing(tmp_path / "log.db") == ["1 acknowledged events are lost, such as 2"]


@pytest.mark.parametrize(("grown", "faults"), [(1.04, 0), (1.06, 1)])
def test_growth_is_found(grown: float, faults: int) -> None:
    """The medians of the first and the last window are compared; one odd sample says nothing."""
    resident = Resident(list)
    sizes = [100.0, 100.0, 900.0, 100.0, 50.0, 50.0, 100.0 * grown, 100.0 * grown, 100.0 * grown]
    resident._samples = [(at, {"daemon": int(size * MEGABYTE)}) for at, size in enumerate(sizes)]
    assert len(resident.growth_faults(1.05)) == faults


@pytest.mark.parametrize(("told", "fault"), [([1, 2, 9], False), ([1, 3, 3], True)])
def test_a_follower_that_is_told_twice_is_a_fault(told: list[int], fault: bool) -> None:
    """Positions only rise."""
    follower: Any = Follower("/nowhere")
    for position in told:
        follower._take(position)
    assert bool(follower.fault) is fault


@pytest.mark.parametrize(
    ("after", "wanted", "told", "missed"),
    [
        (0, {}, range(1, 21), 0),
        (5, {}, range(6, 21), 0),
        (0, {}, [1, 2, 5, 20], 16),
        (0, {"type": "job.submitted"}, [20], 19),
        (0, {"source": "/s"}, [1, *range(3, 21)], 1),
        (0, {"type": "job.failed"}, [20], 0),
        (0, {"source": "/nobody"}, [20], 0),
    ],
)
def test_a_follower_that_is_not_told_is_a_fault(
    tmp_path: Path, after: int, wanted: dict[str, str], told: list[int], missed: int
) -> None:
    """All that it wants of what the log has came to it, up to the newest that did."""
    log = EventLog.open(tmp_path / "log.db")
    drive(log, from_ndjson(b"\n".join(lines(*range(1, 21))), Limits()))
    log.close()
    follower = Follower("/nowhere", after, **wanted)
    for position in told:
        follower._take(position)
    found = follower.missed(tmp_path / "log.db")
    assert [int(each.partition(" of ")[2].split()[0]) for each in found] == [missed] * bool(missed)


def test_processes_that_come_and_go_are_no_growth() -> None:
    """A checkpoint that takes longer is met more often; what stays is what is compared."""
    resident = Resident(list)
    resident._samples = [
        (at, {"daemon": 100 * MEGABYTE} | ({"child": 50 * MEGABYTE} if at > 60 else {}))
        for at in range(100)
    ]
    assert resident.growth_faults(1.05) == []
    assert resident.lines()[-1].endswith("100.0 and 150.0 MB (+50.0%)")
