"""A second system on top of this one: the host's files under an overlay, booted for a test.

Nothing of the host is changed: what the booted system writes goes to memory and is thrown away.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from packaging.requirements import Requirement

PREFIX = "opt/chronicled"
PROBE_UNIT = """\
[Unit]
After=basic.target dbus.service

[Service]
Type=oneshot
StandardOutput=file:/probe.log
StandardError=inherit
ExecStart=/opt/chronicled/bin/python /probe.py
ExecStopPost=/usr/bin/systemctl poweroff --force
"""
PROBE_TARGET = """\
[Unit]
Requires=basic.target dbus.service probe.service
After=basic.target dbus.service probe.service
AllowIsolate=yes
"""


@contextmanager
def overlay() -> Iterator[Path]:
    """Yield the top of a writable view of the host's files."""
    with ExitStack() as stack:
        top = Path(tempfile.mkdtemp(prefix="chronicled-root-"))
        stack.callback(top.rmdir)
        mount("-t", "tmpfs", "tmpfs", str(top))
        stack.callback(unmount, top)
        for name in ("up", "work", "root"):
            (top / name).mkdir()
        layers = f"lowerdir=/,upperdir={top}/up,workdir={top}/work"
        mount("-t", "overlay", "overlay", "-o", layers, str(top / "root"))
        stack.callback(unmount, top / "root")
        yield top / "root"


def mount(*arguments: str) -> None:
    """Mount, or fail."""
    subprocess.run(["mount", *arguments], check=True)


def unmount(path: Path) -> None:
    """Unmount, with what is mounted below."""
    subprocess.run(["umount", "--recursive", str(path)], check=True)


def boot(root: Path, *, seconds: float) -> str:
    """Boot the system below ``root`` into its probe, wait for its end; return the console."""
    units = root / "etc/systemd/system"
    (units / "probe.service").write_text(PROBE_UNIT)
    (units / "probe.target").write_text(PROBE_TARGET)
    (root / "etc/machine-id").write_text("")
    command = ["systemd-nspawn", "--directory", str(root), "--boot", "--register=no", "--keep-unit"]
    command += ["--private-network", "--console=pipe", "systemd.unit=probe.target"]
    console = root / "console.log"
    with console.open("wb") as output:
        subprocess.run(
            ["timeout", "--kill-after=5", str(seconds), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    return console.read_text(errors="replace")


def install(root: Path, repository: Path) -> None:
    """Put the program at /opt/chronicled as docs/operations.md does, and the units in their places.

    The packages are copied out of the environment that runs the tests instead of being downloaded:
    its interpreter may lie under a home directory, where the service could not read it.
    """
    prefix = root / PREFIX
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(prefix)], check=True)
    site = next((prefix / "lib").glob("python3*/site-packages"))
    for name in closure("chronicled"):
        copy(importlib.metadata.distribution(name), site)
    for package in ("domain", "projections", "daemon"):
        shutil.copytree(repository / package, site / package, dirs_exist_ok=True)
    script = prefix / "bin/chronicled"
    script.write_text(f"#!/{PREFIX}/bin/python\nfrom daemon.cli.main import run\n\nrun()\n")
    script.chmod(0o755)
    (root / "etc/sysusers.d").mkdir(exist_ok=True)
    for unit, place in {
        "chronicled.service": "etc/systemd/system",
        "chronicled.socket": "etc/systemd/system",
        "chronicled.sysusers": "etc/sysusers.d/chronicled.conf",
    }.items():
        shutil.copy(repository / "systemd" / unit, root / place)


def closure(name: str, seen: set[str] | None = None) -> set[str]:
    """Return a distribution and all it requires, without extras that were not asked for."""
    seen = set() if seen is None else seen
    if name in seen:
        return seen
    seen.add(name)
    for line in importlib.metadata.requires(name) or ():
        requirement = Requirement(line)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted:
            closure(re.sub(r"[-_.]+", "-", requirement.name).lower(), seen)
    return seen


def copy(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """Copy the files of an installed distribution that belong into site-packages."""
    for file in distribution.files or ():
        if ".." in file.parts or file.suffix == ".pyc" or file.name.startswith("__editable__"):
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), target)
