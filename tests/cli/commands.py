"""Running the real command, as people and scripts do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-m", "daemon")
REPOSITORY = Path(__file__).resolve().parent.parent.parent
SECONDS = 60.0


def environment(**settings: str) -> dict[str, str]:
    """Return an environment without settings of this process, and where the program is found."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CHRONICLED_", "STATE_"))}
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {"PYTHONPATH": path, "TERM": "dumb"} | settings


def start(*arguments: str | Path, cwd: Path | None = None, **options: Any) -> Any:
    """Start ``chronicled`` with these arguments; its pipes are the caller's."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | options
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def chronicled(
    *arguments: str | Path,
    text: str | None = None,
    code: int = 0,
    cwd: Path | None = None,
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    """Run ``chronicled`` to its end, and check its exit code and that no traceback is printed."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(**settings),
        input=text,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    said = f"{arguments}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == code, said
    assert "Traceback" not in done.stdout + done.stderr, said
    return done


def document(*arguments: str | Path, **options: Any) -> Any:
    """Return the one JSON document that a command prints with ``--json``."""
    return json.loads(chronicled(*arguments, "--json", **options).stdout)


def documents(*arguments: str | Path, **options: Any) -> list[Any]:
    """Return the JSON lines that a command prints with ``--json``."""
    lines = chronicled(*arguments, "--json", **options).stdout.splitlines()
    return [json.loads(line) for line in lines]


def event(number: int, **attributes: Any) -> dict[str, Any]:
    """Return a structured CloudEvent: the submission of job ``job-NUMBER``."""
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": "/test",
        "type": "job.submitted",
        "subject": f"job-{number}",
        "time": "2026-02-04T10:00:00Z",
        "data": {"kind": "test", "name": f"number {number}"},
    } | attributes


def lines(*events: dict[str, Any]) -> str:
    """Return events as NDJSON."""
    return "".join(json.dumps(each) + "\n" for each in events)
