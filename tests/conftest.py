"""Fixtures that more than one area of the tests uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import components
import pytest
from daemon_process import DaemonProcess
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker by which a test names the programs it needs."""
    config.addinivalue_line("markers", "needs(*components): programs this test needs")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose programs are missing."""
    for marker in item.iter_markers("needs"):
        components.needs(*marker.args)


@pytest.fixture
def needs() -> Callable[..., None]:
    """Return the function that skips (in CI: fails) the test where a component is missing."""
    return components.needs


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the top directory of the project."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the directory of real producer files, or skip."""
    return components.real_data_directory(REPOSITORY)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Return a maker of daemons (not yet started) on ``tmp_path/data``; all are ended after."""
    with ExitStack() as stack:

        def make(data: Path = tmp_path / "data", **options: Any) -> DaemonProcess:
            daemon = DaemonProcess(data, **options)
            stack.callback(daemon.close)
            return daemon

        yield make


@pytest.fixture
def daemon(daemons: Callable[..., DaemonProcess]) -> DaemonProcess:
    """Return a running daemon on an empty data directory."""
    return daemons().start()
