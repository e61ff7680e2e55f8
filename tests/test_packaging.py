"""What a fresh machine gets: the lock file, the built package, and the entries of the Makefile."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("domain", "projections", "daemon")


def canonical(requirement: str) -> str:
    """Return the normal form of a requirement's name."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    """Return what ``pyproject.toml`` says."""
    return tomllib.loads((repository / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def locked(repository: Path) -> dict[str, str]:
    """Return each locked package with its whole entry, hashes included."""
    entries = re.findall(
        r"(?m)^\S.*\n(?:[ ]+.*\n)*", (repository / "requirements.lock").read_text()
    )
    return {canonical(entry): entry for entry in entries if not entry.startswith("#")}


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Return the built package; it is built from a copy, so that the tree stays clean."""
    copy = tmp_path_factory.mktemp("package")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, copy)
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / name, copy / name, ignore=ignored)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", copy]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, copy], check=True)
    (built,) = copy.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive


def test_the_lock_has_every_dependency_by_version_and_hash(
    project: dict[str, Any], locked: dict[str, str]
) -> None:
    """Every dependency is locked to one version, and every locked package has its hashes."""
    wanted = [*project["project"]["dependencies"]]
    wanted += project["project"]["optional-dependencies"]["dev"]
    assert {canonical(requirement) for requirement in wanted} <= locked.keys()
    assert [entry for entry in locked.values() if "--hash=sha256:" not in entry] == []
    assert [entry for entry in locked.values() if not re.match(r"\S+==\S+", entry)] == []


def test_the_lock_is_what_is_installed(locked: dict[str, str]) -> None:
    """The tests run on the locked versions, not on whatever was there."""
    installed = {canonical(d.name): d.version for d in metadata.distributions()}
    differing = [
        f"{name} {installed[name]}"
        for name, entry in locked.items()
        if name in installed and f"=={installed[name]} " not in entry.replace(";", " ")
    ]
    assert differing == []


def test_the_package_has_its_files(repository: Path, wheel: zipfile.ZipFile) -> None:
    """Every module, SQL file and sample is in the built package, and nothing of the tests."""
    files = {
        path.relative_to(repository).as_posix()
        for name in PACKAGES
        for path in (repository / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == files
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_command_is_installed(project: dict[str, Any]) -> None:
    """The distribution, its version and its one command are called what the project says."""
    distribution = metadata.distribution("chronicled")
    assert distribution.version == project["project"]["version"]
    scripts = distribution.entry_points.select(group="console_scripts")
    assert {script.name for script in scripts} == {"chronicled"}
    assert callable(scripts["chronicled"].load())


def test_make_help_lists_every_target(repository: Path) -> None:
    """``make help`` names each target that exists, and each does exist."""
    makefile = (repository / "Makefile").read_text()
    phony = " ".join(re.findall(r"\.PHONY: (.*)", makefile))
    assert phony
    command = ["make", "--no-print-directory", "help"]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in run.stdout.splitlines()} == set(phony.split())


def test_scripts_are_well_formed(repository: Path) -> None:
    """The CI script is executable, and bash can read it."""
    script = repository / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
