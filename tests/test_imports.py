"""Arrows point inward, and one place puts the parts together."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tidy_rules import sources

PARTS = ("EventLog.open", "ProjectionRunner", "Views", "create_app")
"""What wires the process: the constructors of the long-lived parts."""

BOOTSTRAP = {
    "daemon/service.py": "the running daemon",
    "daemon/projector/child.py": "the projections of the running daemon, in their own process",
    "daemon/cli/directory.py": "the same parts for a command on a directory without a daemon",
    "daemon/replay/history.py": "the views of moments of the past",
    "daemon/replay/replay.py": "projections of a moment, in a file of their own",
    "daemon/replay/serve.py": "the read-only daemon of a moment",
    "daemon/replay/verify.py": "projections on a temporary file, to compare with the live ones",
}
"""The only modules that may call them, and what they put together."""


def constructions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each part that a module constructs, its own classes apart."""
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in PARTS and called.partition(".")[0] not in own:
            yield node.lineno, called


def test_only_the_bootstrap_constructs_the_parts(repository: Path) -> None:
    """Nothing but the bootstrap modules opens the log, runs projections or makes the app."""
    strays = [
        f"{source.path}:{line}: {part}"
        for source in sources(repository)
        if source.path.startswith(("domain/", "projections/", "daemon/"))
        and source.path not in BOOTSTRAP
        for line, part in constructions(source.tree)
    ]
    assert not strays, "\n" + "\n".join(strays)


def test_each_bootstrap_module_constructs_something(repository: Path) -> None:
    """The list of bootstrap modules has no entry that is no longer one."""
    for path in BOOTSTRAP:
        tree = ast.parse((repository / path).read_text())
        assert list(constructions(tree)), path


def linted(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the import contract of the project in a directory."""
    program = Path(sys.executable).with_name("lint-imports")
    command = [program, "--no-cache", "--config", directory / "pyproject.toml"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("domain", "import projections"),
        ("domain", "import daemon"),
        ("domain", "import apsw"),
        ("projections", "import daemon"),
        ("projections", "import fastapi"),
    ],
)
def test_the_contract_forbids_arrows_outward(
    repository: Path, tmp_path: Path, module: str, line: str
) -> None:
    """In a tree of three empty layers, one import outward breaks the contract."""
    (tmp_path / "pyproject.toml").write_text((repository / "pyproject.toml").read_text())
    for layer in ("domain", "projections", "daemon"):
        (tmp_path / layer).mkdir()
        (tmp_path / layer / "__init__.py").write_text(line if layer == module else "")
    run = linted(tmp_path)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "BROKEN" in run.stdout
