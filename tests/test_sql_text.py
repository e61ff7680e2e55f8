"""No statement is made of what comes in: proved by the source, and tried with marked values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
from feeds import MemoryFeed, views_of
from sql_rules import Module, count_calls, modules, unproved

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from domain.errors import ChronicledError
from projections.alerts import AlertFilter
from projections.files import FileFilter
from projections.job_list import JobFilter
from projections.tasks import TaskFilter
from projections.workflows import WorkflowFilter

FOLDERS = ("domain", "projections", "daemon")
_SCHEMA = "the schema of a projection, a .sql file with the prefix of a build's tables"
_CONDITIONS = "made of Condition and Order, whose texts are proved where they are made"
_COLUMNS = "columns of an Order, and a sign"
_FILTER = "the name of a field of a filter, which is a class of ours; its value is a parameter"
BUILDERS = {
    "daemon/backup/segment.py:hold: schema": "the name that an attached database was given",
    "daemon/eventlog/connection.py:_migrate: removal_tables()": "statements of schema.sql",
    "daemon/eventlog/connection.py:complete_schema: removal_tables()": "statements of schema.sql",
    "daemon/eventlog/reader.py:select: _listing(query, low, high, limit + 1)": (
        "conditions and marks, picked by which fields of a query there are"
    ),
    "daemon/eventlog/recorder.py:create_table: self.tables": "a constant of an application's class",
    "daemon/replay/tables.py:_pages: sql": "tables and columns that two databases of views have",
    "daemon/size/trees.py:_count: tree.name": "the name of a table of our own file, quoted",
    "projections/bulk.py:_finished: table.statement": _SCHEMA,
    "projections/bulk.py:_write: table.statement": _SCHEMA,
    "projections/job_search.py:_checked_keys: _BY_NUMBER.clause()": _CONDITIONS,
    "projections/job_search.py:_checked_keys: match.sql": _CONDITIONS,
    "projections/job_search.py:_checked_keys: where_clause(where)": _CONDITIONS,
    "projections/store.py:_rename: new": "tables of a schema, with the number of their build",
    "projections/store.py:_rename: old": "tables of a schema, with the number of their build",
    "projections/store.py:add_index: _ANY_INDEX.finditer(projection.schema(build.prefix))": _SCHEMA,
    "projections/store.py:begin_build: _INDEX.sub('', schema)": _SCHEMA,
    "projections/store.py:begin_build: projection.schema(build.prefix)": _SCHEMA,
    "projections/store.py:begin_bulk: _ANY_INDEX.finditer(projection.schema(build.prefix))": (
        _SCHEMA
    ),
    "projections/store.py:sweep: self._tables('g')": "tables of builds that our own file has",
    "projections/walks.py:between: column": _FILTER,
    "projections/walks.py:between: since": "not the text: it stands beside a sign, as a parameter",
    "projections/walks.py:between: until": "not the text: it stands beside a sign, as a parameter",
    "projections/walks.py:beyond: self._sign": _COLUMNS,
    "projections/walks.py:beyond: self.columns": _COLUMNS,
    "projections/walks.py:fewest_rows: where_clause(walk)": _CONDITIONS,
    "projections/walks.py:fitting_keys: condition.sql": _CONDITIONS,
    "projections/walks.py:fitting_keys: order.clause()": _CONDITIONS,
    "projections/walks.py:fitting_keys: order.columns": _CONDITIONS,
    "projections/walks.py:fitting_keys: where_clause(where)": _CONDITIONS,
    "projections/walks.py:is_any: column": _FILTER,
    "projections/walks.py:select_keys: order.clause()": _CONDITIONS,
    "projections/walks.py:select_keys: order.columns": _CONDITIONS,
    "projections/walks.py:select_keys: where_clause(where)": _CONDITIONS,
    "projections/walks.py:stretches: self._parts(after)": _COLUMNS,
    "projections/walks.py:stretches: self._sign": _COLUMNS,
}
"""Every text of a statement that the source alone does not prove, and what it is made of."""

MARK = "zqmark"
HOSTILE = f"{MARK}'\"; DROP TABLE events; -- {MARK}"


@pytest.fixture(scope="module")
def known(repository: Path) -> dict[str, Module]:
    """Return the modules of the project."""
    return modules(repository, FOLDERS)


def test_every_statement_is_proved_or_known(known: dict[str, Module]) -> None:
    """A statement that is put together in a new way is looked at by somebody, and named above."""
    found = {each.key for each in unproved(known)}
    assert not found - BUILDERS.keys(), "not proved; use a parameter, or say what it is made of"
    assert not BUILDERS.keys() - found, "not there any more"
    assert count_calls(known) > 400


PLANTED = """
NAMES = ("a", "b")
def plain(db, value):
    db.execute("SELECT ?", (value,))
def number(db, value):
    db.execute(f"PRAGMA x({value:d})")
def table(db):
    for name in NAMES:
        db.execute(f"SELECT * FROM {name}")
def _inner(db, sql):
    db.execute(sql + " LIMIT ?")
def outer(db):
    _inner(db, "SELECT 1")
def formatted(db, value):
    db.execute(f"SELECT '{value}'")
def added(db, value):
    sql = "SELECT "
    sql += value
    db.execute(sql)
def joined(db, values):
    db.execute("SELECT " + ",".join(values))
def called(db, request):
    db.execute(request.sql())
def old_style(db, value):
    db.execute("SELECT '%s'" % value)
"""


def test_the_proof_finds_what_is_planted() -> None:
    """What is made of a parameter is found in each way of making it; nothing else is."""
    module = Module("planted.py", ast.parse(PLANTED))
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef):
            module.functions[node.name] = node
    names = module.tree.body[0]
    assert isinstance(names, ast.Assign)
    module.bound["NAMES"] = [names.value]
    found = {each.function for each in unproved({"planted": module})}
    assert found == {"formatted", "added", "joined", "called", "old_style"}


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Return the text of every statement of every connection that is opened meanwhile."""
    seen: list[str] = []

    def trace(_: apsw.Cursor, sql: str, _bindings: Any) -> bool:
        seen.append(sql)
        return True

    def opened(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    apsw.connection_hooks.append(opened)
    yield seen
    apsw.connection_hooks.remove(opened)


def test_no_value_of_a_filter_gets_into_a_statement(tmp_path: Path, statements: list[str]) -> None:
    """What is asked for is bound, in every field of every filter of the lists, and the log's."""
    feed = MemoryFeed()
    feed.add("job.submitted", HOSTILE, {"kind": HOSTILE, "name": HOSTILE}, correlationid=HOSTILE)
    feed.add("alert.raised", HOSTILE, {"severity": "error", "kind": HOSTILE, "title": HOSTILE})
    feed.add("file.observed", HOSTILE, {"size": 1})
    text = dict.fromkeys
    with views_of(tmp_path, feed) as views:
        jobs = text(
            ("kind", "name", "owner", "queue", "workflow", "parent", "correlation"), HOSTILE
        )
        lists = [lambda name=name: views.list_jobs(JobFilter(**{name: HOSTILE})) for name in jobs]
        lists += [
            lambda: views.list_jobs(JobFilter(q=HOSTILE)),
            lambda: views.list_jobs(JobFilter(q=MARK)),
            lambda: views.list_jobs(JobFilter(status=(HOSTILE,))),
            lambda: views.list_jobs(JobFilter(), HOSTILE),
            lambda: views.list_alerts(AlertFilter(kind=HOSTILE)),
            lambda: views.list_files(FileFilter(path=HOSTILE)),
            lambda: views.list_files(FileFilter(prefix=HOSTILE)),
            lambda: views.list_tasks(TaskFilter(job=HOSTILE)),
            lambda: views.list_workflows(WorkflowFilter(q=HOSTILE)),
            lambda: views.list_workflow_versions(HOSTILE),
            lambda: views.job(HOSTILE),
            lambda: views.history(HOSTILE),
            lambda: views.queue(HOSTILE),
            lambda: views.run(HOSTILE),
        ]
        for read in lists:
            with suppress(ChronicledError):
                read()
    with_log(tmp_path / "log.db")
    assert len(statements) > 200
    assert not [sql for sql in statements if MARK in sql]


def with_log(path: Path) -> None:
    """Ask a log for marked values."""
    log = EventLog.open(path)
    for query in (
        EventQuery(stream=HOSTILE),
        EventQuery(types=(HOSTILE,)),
        EventQuery(source=HOSTILE),
        EventQuery(correlation=HOSTILE),
    ):
        log.select(query, 10)
    log.read_stream(HOSTILE)
    log.follow_offsets(HOSTILE)
    log.find_ids([HOSTILE], 0, 10, 10)
    log.close()
