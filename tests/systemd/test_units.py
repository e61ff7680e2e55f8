"""The unit files, as far as they can be judged without starting anything."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from daemon import config, service

PROGRAM = "/opt/chronicled/bin/chronicled"


@pytest.fixture
def units(repository: Path, tmp_path: Path) -> Path:
    """Return a copy of the units whose program exists on every machine."""
    for unit in (repository / "systemd").glob("chronicled.s*"):
        text = unit.read_text()
        (tmp_path / unit.name).write_text(text.replace(PROGRAM, "/usr/bin/true"))
    return tmp_path


def read(unit: Path) -> configparser.ConfigParser:
    """Return a unit's settings; of a key that is there twice, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit)
    return parser


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", ["chronicled.service", "chronicled.socket"])
def test_systemd_finds_nothing_wrong(unit: str, units: Path) -> None:
    """Every key is known to systemd and every value usable; not even a warning is printed."""
    command = ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no", str(units / unit)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_verification_notices_an_unknown_key(units: Path) -> None:
    """The check above can fail."""
    unit = units / "chronicled.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    command = ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no", str(unit)]
    assert subprocess.run(command, capture_output=True).returncode != 0


@pytest.mark.needs("systemd-analyze")
def test_the_service_is_confined(units: Path) -> None:
    """By systemd's own measure the exposure is 2.5 or better."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25"]
    result = subprocess.run(
        [*command, str(units / "chronicled.service")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_the_service_runs_the_command(repository: Path) -> None:
    """The program is the one that docs/operations.md installs, and takes its place from systemd."""
    unit = read(repository / "systemd" / "chronicled.service")
    assert unit["Service"]["ExecStart"] == f"{PROGRAM} serve"
    assert "/opt/chronicled" in (repository / "docs" / "operations.md").read_text()


def test_the_service_and_the_daemon_agree(repository: Path) -> None:
    """Credential name, time to stop and exit codes are those of the program."""
    path = repository / "systemd" / "chronicled.service"
    unit = read(path)["Service"]
    loaded = re.findall(r"(?m)^LoadCredential=(.*)$", path.read_text())
    assert loaded == [config.CREDENTIAL, config.STORE_CREDENTIAL]
    stop_seconds = config.load(environment={}).backup.stop_seconds
    assert float(unit["TimeoutStopSec"]) > service.STOP_SECONDS + stop_seconds
    assert unit["RestartPreventExitStatus"].split() == ["2", "3", "4", "5"]


def test_a_network_that_is_late_is_waited_for(repository: Path) -> None:
    """The bucket of the backup is asked before the log is opened; a missing network is none."""
    unit = read(repository / "systemd" / "chronicled.service")["Unit"]
    assert unit["After"] == unit["Wants"] == "network-online.target"
    assert "Requires" not in unit


def test_the_socket_outlives_the_service(repository: Path) -> None:
    """The socket unit's path is not in the directory that systemd removes when the daemon stops."""
    unit = read(repository / "systemd" / "chronicled.service")["Service"]
    socket = read(repository / "systemd" / "chronicled.socket")["Socket"]
    runtime = Path("/run") / unit["RuntimeDirectory"]
    assert not Path(socket["ListenStream"]).is_relative_to(runtime)
    assert socket["SocketMode"] == "0660"
    assert socket["SocketGroup"] == unit["Group"]


def test_the_group_is_declared(repository: Path) -> None:
    """The sysusers file makes the group that both units name; no user has that name."""
    unit = read(repository / "systemd" / "chronicled.service")["Service"]
    lines = (repository / "systemd" / "chronicled.sysusers").read_text().splitlines()
    assert f"g {unit['Group']} - -" in lines
    assert unit["User"] != unit["Group"]
