"""The service under a real systemd as process 1."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import container
import pytest

PROBE = Path(__file__).with_name("probe.py")


@pytest.mark.needs("root", "mount", "systemd-nspawn", "system-python")
def test_the_service_under_systemd(repository: Path) -> None:
    """Start, READY, kill -9 under load, watchdog, stop, socket: every check of probe.py."""
    with container.overlay() as root:
        container.install(root, repository)
        shutil.copy(PROBE, root / "probe.py")
        console = container.boot(root, seconds=100)
        outcome = root / "probe.json"
        assert outcome.exists(), f"the probe did not begin:\n{console[-4000:]}"
        results: dict[str, str] = json.loads(outcome.read_text())
        journal = root / "journal.log"
        said = journal.read_text(errors="replace") if journal.exists() else console
    failed = {name: result for name, result in results.items() if result != "ok"}
    assert not failed, "\n".join([*failed.values(), said[-6000:]])
    assert set(results) == checks()


def checks() -> set[str]:
    """Return the names of the checks that have to have run."""
    text = PROBE.read_text()
    listed = text.partition("CHECKS = (")[2].partition(")")[0]
    return {name.strip() for name in listed.split(",") if name.strip()}
