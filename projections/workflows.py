"""The workflow files: the projection `workflows`, their list, and the versions of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw
import orjson

from domain.clock import effective_time
from domain.errors import NotFound
from domain.events import RecordedEvent
from domain.suggest import shorten
from domain.timestamps import format_timestamp
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.entities import entity_number
from projections.paging import Shown, check_limit, check_values, shown_items, text_size
from projections.seam import Batch
from projections.sql import named_statements
from projections.walks import Condition, Order, Way, find_keys, is_any

LOADED: Final = "loaded"
REMOVED: Final = "removed"


class Workflows:
    """Every version of each workflow file, and which is the last.

    The daemon itself records them, in the order in which it reads: the last in the log counts,
    whatever its clock said.
    """

    name = "workflows"
    version = 1
    types = frozenset({"workflow.loaded", "workflow.removed"})

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("workflows.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> WorkflowsFold:
        """Return the fold over the tables with this prefix."""
        return WorkflowsFold(db, prefix)


class WorkflowsFold:
    """Writes a version for each event, and moves its file on to it."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("workflows.sql", prefix)

    def forget(self) -> None:
        """Nothing is remembered here."""

    def apply(self, batch: Batch) -> None:
        """Write the versions of a batch."""
        versions, files = [], []
        for event in batch.events:
            workflow, state = batch.entities[event.stream], _state(event)
            phases, issues = (event.payload.get(name) or [] for name in ("phases", "issues"))
            versions.append(
                (event.position, workflow, effective_time(event), state,
                 event.payload.get("sha256"), _json(phases), _json(issues))
            )  # fmt: skip
            files.append((workflow, event.subject, event.position, state, len(issues)))
        self._db.executemany(self._sql["insert_version"], versions)
        self._db.executemany(self._sql["write_workflow"], files)


def _state(event: RecordedEvent) -> str:
    return event.type.partition(".")[2]


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


_SQL = named_statements("workflows.sql")
_BY_PATH: Final = Order(("path", "workflow"), descending=False)
_BY_VERSION: Final = Order(("version",), descending=True)


@dataclass(frozen=True, slots=True)
class WorkflowFilter:
    """Which files a list shows: all conditions hold; ``q`` is a part of the path."""

    state: str | None = None
    issues: bool | None = None
    q: str | None = None


def list_workflows(
    db: apsw.Connection, wanted: WorkflowFilter, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the files of one page, by path, and the cursor of the next.

    Raises:
        Invalid: a value or the limit cannot be used.
        InvalidCursor: the cursor belongs to another list.

    """
    check_limit(limit)
    check_values({"q": wanted.q})
    others = []
    if wanted.state is not None:
        others.append(is_any("state", [wanted.state]))
    if wanted.issues is not None:
        others.append(Condition(f"issues {'>' if wanted.issues else '='} 0"))
    if wanted.q is not None:
        others.append(Condition("instr(path, ?) > 0", (wanted.q,)))
    bound_to = fingerprint("workflows", wanted)
    after = decode_cursor(bound_to, cursor, [str, int]) if cursor else None
    found = find_keys(db, "workflows", _BY_PATH, [Way([[]], others)], after, limit + 1)
    items, last = shown_items(found, limit, lambda numbers: _shown(db, "show_workflows", numbers))
    return items, encode_cursor(bound_to, last) if last else None


def find_workflow(db: apsw.Connection, path: str) -> dict[str, Any] | None:
    """Return the last version of a file, None where it was never loaded."""
    number = entity_number(db, f"workflow/{path}")
    found = [] if number is None else list(_shown(db, "show_workflows", f"[{number}]"))
    return found[0][1] if found else None


def list_versions(
    db: apsw.Connection, path: str, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return versions of a file, the newest first, and the cursor of the next page.

    Raises:
        NotFound: it was never loaded.
        Invalid, InvalidCursor: as for the list.

    """
    check_limit(limit)
    number = entity_number(db, f"workflow/{path}")
    if number is None:
        raise NotFound(f"There is no workflow {shorten(path)}.")
    bound_to = fingerprint("workflow versions", path)
    after = decode_cursor(bound_to, cursor, [int]) if cursor else None
    way = Way([[is_any("workflow", [number], driving=True)]])
    found = find_keys(db, "workflow_versions", _BY_VERSION, [way], after, limit + 1)
    items, last = shown_items(found, limit, lambda numbers: _shown(db, "show_versions", numbers))
    return items, encode_cursor(bound_to, last) if last else None


def _shown(db: apsw.Connection, statement: str, numbers: str) -> Iterator[Shown]:
    for row in db.execute(_SQL[statement], (numbers,)):
        yield row[0], _item(row), text_size(row)


def _item(row: Sequence[Any]) -> dict[str, Any]:
    _, path, position, versions, state, time, sha256, phases, issues = row
    return {
        "path": path,
        "state": state,
        "sha256": sha256,
        "loaded": format_timestamp(time),
        "position": position,
        "versions": versions,
        "phases": orjson.loads(phases),
        "issues": orjson.loads(issues),
    }
