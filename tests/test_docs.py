"""The docs fit the code: whatever a user can name is described, and the commands shown do run."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import pty
import re
import subprocess
import sys
import termios
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import event_reference
import pytest
import typer
from daemon_process import DaemonProcess

import daemon
from daemon.cli.main import app
from daemon.config import TABLES
from daemon.settings import SECTIONS
from domain.errors import ChronicledError

RUN = re.compile(r"<!-- run -->\n```(sh|console)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
RUNNABLE = ("quickstart", "cli", "debugging", "http", "library", "backup", "size")
"""The pages whose commands are run."""
PAGES = ("README.md", "CHANGELOG.md", "docs/*.md", "benchmarks/*.md", "daemon/**/*.md")


def markdown_files(repository: Path) -> list[Path]:
    """Return every page of the documentation."""
    return [path for pattern in PAGES for path in sorted(repository.glob(pattern))]


def missing(page: Path, names: Iterable[str]) -> list[str]:
    """Return the names that do not stand on a page as code."""
    text = page.read_text() if page.exists() else ""
    return [name for name in names if not re.search(rf"`[^`\n]*{re.escape(name)}(?![\w-])", text)]


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every command below one, with its whole name."""
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for word, child in children.items():
        if not child.hidden:
            yield from commands(child, f"{name} {word}")


@pytest.fixture(scope="module", autouse=True)
def _everything() -> None:
    """Import every module of the daemon: an error is known once its module is."""
    for module in pkgutil.walk_packages(daemon.__path__, "daemon."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def errors(base: type[ChronicledError] = ChronicledError) -> Iterator[type[ChronicledError]]:
    """Yield every class of error that has a code of its own."""
    if "code" in vars(base):
        yield base
    for child in base.__subclasses__():
        yield from errors(child)


def test_every_setting_is_documented(repository: Path) -> None:
    """Each key of the configuration stands in its section's table, with its default."""
    page = (repository / "docs" / "configuration.md").read_text()
    wrong = []
    headings = {f"[{section}]": model for section, model in SECTIONS.items()}
    headings |= {f"[[{table}]]": model for table, model in TABLES.items()}
    for section, model in headings.items():
        _, _, table = page.partition(f"\n## `{section}`\n")
        for key, field in model.model_fields.items():
            given = None if field.is_required() else field.get_default(call_default_factory=True)
            default = f"`{given}`" if given not in ("", (), {}) else "none"
            default = "required" if field.is_required() else default
            default = "see above" if key == "socket" else default
            if f"| `{key}` | {default} |" not in table.partition("\n## ")[0]:
                wrong.append(f"{section} {key} = {default}")
    assert wrong == []


def test_every_command_is_documented(repository: Path) -> None:
    """Each command stands in docs/cli.md with each of its options."""
    page = repository / "docs" / "cli.md"
    found = list(commands(typer.main.get_command(app), "chronicled"))
    assert len(found) > 15
    assert missing(page, [name for name, _ in found]) == []
    options = {
        option
        for _, command in found
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    assert missing(page, sorted(options)) == []


def test_the_json_of_every_command_is_documented(repository: Path) -> None:
    """Each command that prints JSON stands in the table of what it prints."""
    rows = [
        line.split("|")[1]
        for line in (repository / "docs" / "cli.md").read_text().splitlines()
        if line.startswith("| `chronicled ")
    ]
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    found = {
        name
        for name, command in commands(typer.main.get_command(app), "chronicled")
        if any("--json" in option.opts for option in command.params)
    }
    assert found - told == set()


def test_every_route_and_metric_is_documented(repository: Path, daemon: DaemonProcess) -> None:
    """What a running daemon offers by HTTP stands in docs/http.md, its metrics in metrics.md."""
    with daemon.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        exposition = client.get("/metrics").text
    routes = [f"{method.upper()} {path}" for path in paths for method in paths[path]]
    assert len(routes) > 20
    assert missing(repository / "docs" / "http.md", routes) == []
    metrics = re.findall(r"(?m)^# TYPE (chronicled_\w+)", exposition)
    assert len(metrics) > 15
    assert missing(repository / "docs" / "metrics.md", metrics) == []


RULES_TEST = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'chronicled_backup_configured{instance="a"}', values: '1x60'}
      - {series: 'chronicled_backup_shipping{instance="a"}', values: '1x20 0x40'}
      - {series: 'chronicled_backup_lag_seconds{instance="a"}', values: '3x20 0+60x40'}
      - {series: 'chronicled_snapshots_missed{instance="a"}', values: '1x60'}
    alert_rule_test:
      - {eval_time: 20m, alertname: ChronicledBackupNotShipping}
      - {eval_time: 20m, alertname: ChronicledBackupBehind}
      - {eval_time: 60m, alertname: ChronicledSnapshotsMissed}
      - {eval_time: 60m, alertname: ChronicledNoBackup}
      - eval_time: 60m
        alertname: ChronicledBackupNotShipping
        exp_alerts:
          - exp_labels: {instance: a}
            exp_annotations:
              summary: "a ships nothing: chronicled backup status says why"
      - eval_time: 60m
        alertname: ChronicledBackupBehind
        exp_alerts:
          - exp_labels: {instance: a}
            exp_annotations:
              summary: "a has events of 2340 s that are not in the store"
"""


@pytest.mark.needs("promtool")
def test_the_alert_rules_work(repository: Path, tmp_path: Path) -> None:
    """Prometheus takes the rules of docs/metrics.md, and they fire when they should."""
    page = (repository / "docs" / "metrics.md").read_text()
    [rules] = re.findall(r"```yaml\n(groups:\n.*?)```", page, re.DOTALL)
    assert set(re.findall(r"chronicled_\w+", rules)) <= set(re.findall(r"`(chronicled_\w+)", page))
    (tmp_path / "rules.yml").write_text(rules)
    (tmp_path / "test.yml").write_text(RULES_TEST)
    command = ["promtool", "test", "rules", "test.yml"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_event_type_is_documented(repository: Path) -> None:
    """The reference of events is what the catalog says now (``make docs`` renews it)."""
    page = (repository / "docs" / "events.md").read_text()
    assert page == event_reference.page(page)


def test_every_error_is_documented(repository: Path) -> None:
    """Each stable error code stands in docs/http.md with its status."""
    page = repository / "docs" / "http.md"
    by_http = [error for error in errors() if error.exit_code == 1]
    assert missing(page, [error.code for error in by_http]) == []
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    wrong = [
        f"{error.code} {error.status}"
        for error in by_http
        if not any(f"`{error.code}`" in row and str(error.status) in row for row in rows)
    ]
    assert wrong == []


def test_every_error_of_a_start_is_documented(repository: Path) -> None:
    """Each error that ends a command stands in docs/cli.md or docs/operations.md."""
    pages = [repository / "docs" / name for name in ("cli.md", "operations.md")]
    codes = [error.code for error in errors() if error.exit_code > 1]
    assert [code for code in codes if all(missing(page, [code]) for page in pages)] == []


def test_every_dependency_has_its_reason(repository: Path) -> None:
    """docs/dependencies.md has one row for each dependency, and no other rows."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    page = (repository / "docs" / "dependencies.md").read_text()
    rows = re.findall(r"(?m)^\| ([a-z][a-z0-9_-]+) \| \S", page)
    names = [re.split(r"[><=,]", requirement)[0] for requirement in wanted]
    assert sorted(set(rows) - {"package"}) == sorted(names)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a reader of the page can jump to."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def test_links_lead_somewhere(repository: Path) -> None:
    """Each link to a file of the project names one that is there, with its heading."""
    dead = []
    for page in markdown_files(repository):
        for target in LINK.findall(page.read_text()):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            if not there.exists() or (anchor and anchor not in anchors(there)):
                dead.append(f"{page.relative_to(repository)}: {target}")
    assert dead == []


def test_the_index_has_every_page(repository: Path) -> None:
    """docs/index.md links every page beside it."""
    index = (repository / "docs" / "index.md").read_text()
    pages = {path.name for path in (repository / "docs").glob("*.md")} - {"index.md"}
    assert sorted(page for page in pages if f"]({page})" not in index) == []


FOLLOWED = """curl -sf -o /dev/null "http://127.0.0.1:8321/api/jobs?timeout=30&wait_for=$(
curl -sf 'http://127.0.0.1:8321/api/events?limit=1' | sed 's/.*"as_of":\\([0-9]*\\).*/\\1/')" """
"""Waits for the views: who reads a page takes longer than they do, but a busy machine may not."""


def shown(page: Path) -> tuple[str, list[str]]:
    """Return the marked commands of a page, and the lines that it shows as their output.

    In a ``console`` block commands stand behind ``$``, and go on after a backslash. After each
    of them, and after other blocks, it is waited for the views.
    """
    typed: list[str] = []
    expected: list[str] = []
    for kind, block in RUN.findall(page.read_text()):
        if kind == "sh":
            typed += [block, FOLLOWED]
            continue
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ "):
                typed += [line.removeprefix("$ "), FOLLOWED]
            else:
                expected.append(line)
    return "\n".join(typed), expected


def on_terminal(script: str, directory: Path) -> tuple[int, str]:
    """Run a script as on a terminal of 100 columns; return its exit code and what it printed."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "LC_ALL": "C.UTF-8", "TERM": "xterm", "NO_COLOR": "1"}
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (50, 100))
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=inside,
        stderr=inside,
    ) as process:
        os.close(inside)
        printed = b""
        with contextlib.suppress(OSError):  # Linux says EIO when the last writer has closed.
            while piece := os.read(terminal, 65536):
                printed += piece
        os.close(terminal)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", printed.decode())


@pytest.mark.parametrize(
    "name",
    ["README.md", *(f"docs/{name}.md" for name in RUNNABLE)],
)
def test_shown_commands_run(
    name: str, repository: Path, tmp_path: Path, daemons: Callable[..., DaemonProcess]
) -> None:
    """The marked commands of a page run against a fresh daemon, and print what the page shows."""
    script, expected = shown(repository / name)
    assert script, f"no block of {name} is marked with <!-- run -->"
    # A place for the page that is about it; what goes there is what the page asks for.
    settings = {"URL": f"file://{tmp_path}/store", "SNAPSHOT": "off", "PROVE": "false"}
    environment = {f"CHRONICLED_BACKUP__{key}": value for key, value in settings.items()}
    daemon = daemons(environment=environment if "backup" in name else {}).start().wait_caught_up()
    code, printed = on_terminal(script.replace("http://127.0.0.1:8321", daemon.url), tmp_path)
    assert code == 0, f"{script}\n{printed}"
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in expected:
        assert any(" ".join(line.split()) in seen for seen in lines), f"{line!r} not in\n{printed}"
