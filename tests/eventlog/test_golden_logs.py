"""Golden logs: what an earlier version wrote is read by this one, and means what it meant.

See ``tests/golden_log.py`` for what they are, and when one is added.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import golden_log
import orjson
import pytest
from histories import exported, imported, rows

from daemon.eventlog.connection import SCHEMA_VERSION
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.replay.verify import verify
from domain.catalog import event_types

FOLDERS = sorted(golden_log.GOLDEN.iterdir())


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    """Return the folder of each golden log."""
    return Path(request.param)


@pytest.fixture
def log_path(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the file of a golden log."""
    golden_log.restore(folder, tmp_path / "log.db")
    return tmp_path / "log.db"


def test_there_is_one_for_the_present_schema() -> None:
    """A new schema needs a golden log; they are small."""
    assert f"schema-{SCHEMA_VERSION}" in {folder.name for folder in FOLDERS}
    for folder in FOLDERS:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000


def test_they_hold_every_event_type() -> None:
    """Each type of clients and of the daemon is in one of them: a new type needs one more."""
    found = {
        json.loads(line)["type"]
        for folder in FOLDERS
        for line in (folder / "history.ndjson").read_bytes().splitlines()
    }
    assert {entry.name for entry in event_types()} <= found


def test_they_are_opened_and_verified(log_path: Path, tmp_path: Path) -> None:
    """The log and the views built of it are clean."""
    golden_log.views_of(log_path, tmp_path / "views.db")
    with closing(EventLog.open(log_path)):
        report = verify(log_path, tmp_path / "views.db")
    assert report.findings == []
    assert report.events > 50


def test_every_projection_makes_the_same_rows(folder: Path, log_path: Path, tmp_path: Path) -> None:
    """They are what the committed rows say; the versions of the projections too."""
    found = golden_log.views_of(log_path, tmp_path / "views.db")
    expected: Any = json.loads((folder / "views.json").read_text())
    assert found["versions"] == expected["versions"]
    assert sorted(found["rows"]) == sorted(expected["rows"])
    for table, rows_of_it in expected["rows"].items():
        assert json.loads(orjson.dumps(found["rows"][table])) == rows_of_it, table


def test_the_export_is_that_of_the_file(folder: Path, log_path: Path) -> None:
    """What the file holds is exported byte for byte as it was then."""
    if folder.name == f"schema-{SCHEMA_VERSION}":
        assert exported(log_path) == (folder / "history.ndjson").read_bytes()


def test_the_export_is_imported_with_its_digest(
    folder: Path, log_path: Path, tmp_path: Path
) -> None:
    """The history comes back with the digest that it had, and every row of the file."""
    text = (folder / "history.ndjson").read_bytes()
    path = imported(text, tmp_path / "imported")
    with closing(LogFile(path)) as log:
        digest = json.loads(text.splitlines()[-1])["data"]["digest"]
        assert (log.digest_at(log.head()) or b"").hex() == digest
    assert rows(path) == rows(log_path)


def test_a_fresh_log_has_the_schema_of_the_golden_one(tmp_path: Path) -> None:
    """The tables of the present schema version are what they were when it was released."""
    golden_log.restore(golden_log.GOLDEN / f"schema-{SCHEMA_VERSION}", tmp_path / "golden.db")
    EventLog.open(tmp_path / "fresh.db").close()
    schemas = []
    for name in ("golden.db", "fresh.db"):
        with closing(apsw.Connection(str(tmp_path / name))) as db:
            sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
            settings = [db.pragma(each) for each in ("page_size", "auto_vacuum", "user_version")]
            schemas.append((settings, db.execute(sql).fetchall()))
    assert schemas[0] == schemas[1]
