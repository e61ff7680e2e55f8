"""The command as a whole: help, completion, configuration, usage errors."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from commands import PROGRAM, chronicled, document, environment
from typer.testing import CliRunner

from daemon.cli.main import app


def every_command(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    yield words
    for word, child in getattr(command, "commands", {}).items():
        yield from every_command(child, (*words, word))


COMMANDS = list(every_command(typer.main.get_command(app)))


def test_the_commands_are_all_there() -> None:
    """What the interface promises exists."""
    wanted = (
        "serve", "append", "jobs list", "jobs show", "jobs history", "alerts list", "alerts ack",
        "alerts resolve", "files list", "events list", "events tail", "summary",
        "deadletters list", "verify", "rebuild", "config show", "config check", "demo",
    )  # fmt: skip
    assert {tuple(each.split()) for each in wanted} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    """--help says how it is used and what it is for: asked in this process, which is quicker."""
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="chronicled")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert f"Usage: {' '.join(('chronicled', *words))} " in said
    assert len([line for line in done.stdout.splitlines() if line.strip()]) > 3
    assert done.stderr == ""


def test_the_program_has_help() -> None:
    """--help of the real program is that of the command."""
    done = chronicled("jobs", "list", "--help")
    assert "Usage: chronicled jobs list " in done.stdout
    assert done.stderr == ""


def test_the_version_is_printed() -> None:
    """--version names the program and its version."""
    assert chronicled("--version").stdout.startswith("chronicled 0.")


@pytest.mark.parametrize(
    "arguments",
    [("job",), ("jobs", "lst"), ("jobs", "show"), ("jobs", "list", "--limit", "0"),
     ("jobs", "list", "--colour")],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...]) -> None:
    """A wrong command, option or value is told on stderr."""
    done = chronicled(*arguments, code=2)
    assert done.stdout == ""
    assert done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_generated(shell: str) -> None:
    """Each shell's script names the command it completes."""
    program = Path(PROGRAM[0]).with_name("chronicled")
    done = subprocess.run(
        [program],
        env=environment(_CHRONICLED_COMPLETE=f"source_{shell}"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_CHRONICLED_COMPLETE" in done.stdout
    assert "chronicled" in done.stdout


def test_completion_completes() -> None:
    """What the script asks for is answered: the commands that begin so."""
    program = Path(PROGRAM[0]).with_name("chronicled")
    asked = {"_CHRONICLED_COMPLETE": "complete_bash", "COMP_WORDS": "chronicled jobs h"}
    done = subprocess.run(
        [program],
        env=environment(**asked, COMP_CWORD="2"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["history"]


def test_completion_can_be_installed(tmp_path: Path) -> None:
    """--install-completion writes the script into the shell's own place."""
    program = Path(PROGRAM[0]).with_name("chronicled")
    command = f"{program} --install-completion bash; true"
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment(HOME=str(tmp_path), SHELL=os.environ.get("SHELL", "/bin/bash")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "completion installed" in done.stdout
    assert any("chronicled" in path.name for path in tmp_path.rglob("*"))


def test_config_show_says_where_values_come_from(tmp_path: Path) -> None:
    """File, environment and default are told apart."""
    file = tmp_path / "chronicled.toml"
    file.write_text('[server]\nlisten = "127.0.0.1:9000"\n')
    settings = document(
        "config", "show", "--config", file, CHRONICLED_LOGGING__LEVEL="warning", cwd=tmp_path
    )["settings"]
    by_key = {setting["key"]: setting for setting in settings}
    assert by_key["server.listen"]["value"] == "127.0.0.1:9000"
    assert str(file) in by_key["server.listen"]["origin"]
    assert by_key["logging.level"]["value"] == "warning"
    assert "CHRONICLED_LOGGING__LEVEL" in by_key["logging.level"]["origin"]
    assert by_key["log.synchronous"]["origin"] == "default"
    plain = chronicled("config", "show", "--config", file).stdout
    assert "server.listen\t127.0.0.1:9000\tfile " in plain


def test_config_check_names_every_fault(tmp_path: Path) -> None:
    """A misspelt key is exit 2 with the key that was meant; a good file is fine."""
    file = tmp_path / "chronicled.toml"
    file.write_text("[server]\nlisten = 7\nread_thread = 2\n")
    done = chronicled("config", "check", "--config", file, code=2)
    assert "read_threads" in done.stderr
    assert done.stderr.startswith("Error: Configuration error")
    chronicled("serve", "--config", file, "--data", tmp_path / "data", code=2)
    assert not (tmp_path / "data").exists()
    file.write_text("[server]\nread_threads = 2\n")
    assert chronicled("config", "check", "--config", file).stdout == "The configuration is fine.\n"
    checked = document("config", "check", "--config", file)
    assert checked == {"ok": True, "files": [str(file)]}
