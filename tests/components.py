"""The programs outside Python that some tests need, and what a test does where one is missing.

A test names them by ``@pytest.mark.needs("promtool", ...)`` or by calling the fixture ``needs``.
Where one is missing the test is skipped with the reason; with ``CHRONICLED_REQUIRE=all`` in the
environment, as in CI, it fails.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

PACKAGES = {
    "curl": "curl",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container dbus",
    "systemd-socket-activate": "systemd",
    "system-python": "python3",
    "root": "",
    "mount": "mount",
    "nats-server": "nats-server",
    "mkfs.ext4": "e2fsprogs",
    "faketime": "faketime",
    "memory-cgroup": "",
}
"""Every component a test may name, and the Debian package that has it."""


def no_memory_group() -> str:
    """Return why no memory cgroup can be made here; empty when one can."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/cgroup.subtree_control")
    if os.geteuid() == 0 and (first / "memory.limit_in_bytes").exists():
        return "" if os.access(first, os.W_OK) else "the memory cgroup cannot be written"
    if os.geteuid() == 0 and second.exists() and "memory" in second.read_text().split():
        return "" if os.access(second.parent, os.W_OK) else "the cgroups cannot be written"
    return "there is no memory cgroup that can be written"


def missing(component: str) -> str:
    """Return why a component cannot be used here; empty when it can."""
    if component not in PACKAGES:
        return f"{component} is not in PACKAGES of tests/components.py"
    if component == "root":
        return "" if os.geteuid() == 0 else "it must run as root"
    if component == "system-python":
        own = f"python{sys.version_info.major}.{sys.version_info.minor}"
        same = Path("/usr/bin/python3").resolve().name == own
        return "" if same else f"/usr/bin/python3 is not {own}, the version of this environment"
    if component == "memory-cgroup":
        return no_memory_group()
    if shutil.which(component) is None:
        return f"{component} is not installed (Debian package {PACKAGES[component]})"
    return ""


def needs(*components: str) -> None:
    """Skip the running test where a component is missing; fail it where all are required."""
    reasons = [reason for component in components if (reason := missing(component))]
    if not reasons:
        return
    if os.environ.get("CHRONICLED_REQUIRE") == "all":
        pytest.fail("; ".join(reasons), pytrace=False)
    pytest.skip("; ".join(reasons))


def real_data_directory(repository: Path) -> Path:
    """Return the directory of real producer files; skip the running test where there is none."""
    named = os.environ.get("CHRONICLED_REAL_DATA")
    directory = Path(named) if named else repository.parent / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(f"no real data at {directory} (CHRONICLED_REAL_DATA names another place)")
    return directory
