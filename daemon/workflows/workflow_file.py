"""A workflow file: its bytes read, its phases, and everything that is wrong with it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from daemon.workflows.checking import check_phases
from daemon.workflows.issues import Issue, Issues
from daemon.workflows.parsing import Phase, read_phases

FILE_BYTES_MAX: Final = 1024 * 1024
"""The largest workflow file that is read."""


@dataclass(frozen=True)
class Workflow:
    """A workflow file as it was read; a function of its bytes."""

    sha256: str
    phases: tuple[Phase, ...]
    issues: tuple[Issue, ...]

    def document(self) -> dict[str, Any]:
        """Return it as the payload of ``workflow.loaded``."""
        return {
            "sha256": self.sha256,
            "phases": [phase.document() for phase in self.phases],
            "issues": [issue.document() for issue in self.issues],
        }


def digest_of(content: bytes) -> str:
    """Return what tells one version of a file from another: its sha256."""
    return sha256(content).hexdigest()


def read_workflow(content: bytes) -> Workflow:
    """Read a workflow file; whatever its bytes are, the outcome says what is wrong with them."""
    issues = Issues()
    phases: tuple[Phase, ...] = ()
    try:
        tables = tomllib.loads(content.decode())
    except RecursionError:
        issues.error("undecodable", "the file is no TOML: it is nested too deeply")
    except ValueError as error:
        issues.error("undecodable", f"the file is no TOML: {error}")
    else:
        phases = read_phases(tables, issues)
        check_phases(phases, issues)
    return Workflow(digest_of(content), phases, issues.found())
