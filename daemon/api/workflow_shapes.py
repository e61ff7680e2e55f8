"""The shapes of the answers about workflow files, and their examples; see `schemas`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from daemon.api.schemas import Answer, Shape
from daemon.workflows.graph import graph_of, next_of
from daemon.workflows.workflow_file import read_workflow
from domain.timestamps import format_timestamp

_NOW = 1_770_185_567_000_000
_FILE = b"""
[[phase]]
task = "csv2json:hourly"
rule = "cron=0 0 * * * *&offset=-4h"
template = "gs://raw/{HOUR_SLUG}/in.csv"

[[phase]]
task = "sql-load"
dependsOn = "csv2json:hourly"
template = "{meta:file}"
"""


class Node(Shape):
    """A phase of the file, or a parent that is none."""

    phase: str
    index: int | None = Field(description="Its place in the file; null for what is not in it.")
    trigger: Literal["cron", "files", "parent"] | None = Field(description="What starts it first.")
    missing: bool = Field(description="Whether phases wait for it that it cannot start.")


class Edge(Shape):
    """That a phase is started by the end of another; places in the file."""

    from_: int | None = Field(alias="from", description="Null: the parent is not in the file.")
    to: int
    parent: str = Field(description="The parent as the phase names it.")


class Graph(Shape):
    """What starts what."""

    nodes: list[Node]
    edges: list[Edge]


class Run(Shape):
    """When a phase is due."""

    time: AwareDatetime
    hour: str = Field(description="The hour it is for: the time, moved by the offset.")


class Due(Shape):
    """When a phase with a schedule is due next."""

    phase: str
    index: int
    cron: str
    offset: str | None
    runs: list[Run]


class WorkflowVersion(Shape):
    """A workflow file as it was loaded, or that it was removed."""

    path: str
    state: Literal["loaded", "removed"]
    sha256: str | None
    loaded: AwareDatetime = Field(description="When it was loaded, or found to be gone.")
    position: int
    phases: list[dict[str, Any]] = Field(description="As in `workflow.loaded`.")
    issues: list[dict[str, Any]] = Field(description="What is wrong with it.")


class WorkflowShape(WorkflowVersion):
    """A workflow file as it was loaded last."""

    versions: int = Field(description="How many there were, removals included.")
    graph: Graph
    next: list[Due] = Field(description="When its phases are due, in UTC; none once removed.")


class WorkflowDetail(WorkflowShape, Answer):
    """One workflow file."""


def version() -> dict[str, Any]:
    """Return a version of a workflow file."""
    return {
        "path": "etl/hourly.toml",
        "state": "loaded",
        **read_workflow(_FILE).document(),
        "loaded": format_timestamp(_NOW),
        "position": 41,
    }


def workflow() -> dict[str, Any]:
    """Return a workflow file."""
    shown = version()
    after = datetime.fromtimestamp(_NOW // 1_000_000, UTC)
    derived = {"graph": graph_of(shown["phases"]), "next": next_of(shown["phases"], after)}
    return {**shown, "versions": 1, **derived}
