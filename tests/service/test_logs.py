"""The daemon's own log in its three forms."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from daemon import logs


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    """Return a file that takes the log; the root logger is put back after."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    with (tmp_path / "log").open("w+") as file:
        yield file
        for added in root.handlers[:]:
            if added not in before:
                root.removeHandler(added)
                added.close()
        for kept in before:
            root.addHandler(kept)
        root.setLevel(level)


def written(stream: TextIO) -> list[str]:
    """Return the lines that were written."""
    stream.seek(0)
    return stream.read().splitlines()


def test_json_has_the_extra_fields_and_the_traceback(stream: TextIO) -> None:
    """One object a line: time, level, logger, message, what was given as extra, the error."""
    logs.configure("info", "json", stream=stream)
    try:
        int("no such\nthing")
    except ValueError:
        logging.getLogger("daemon.x").exception("failed", extra={"events": 3, "odd": {1, "\ud800"}})
    (line,) = written(stream)
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert entry["logger"] == "daemon.x"
    assert entry["message"] == "failed"
    assert entry["events"] == 3
    assert "ValueError: invalid literal" in entry["error"]
    assert entry["time"].endswith("+00:00")


def test_plain_keeps_a_record_on_its_line(stream: TextIO) -> None:
    """Fields follow the message; a line break in one cannot forge another record."""
    logs.configure("debug", "plain", stream=stream)
    logging.getLogger("daemon.x").debug("asked", extra={"path": "/a\r\nERROR daemon: forged"})
    (line,) = written(stream)
    assert line.endswith("DEBUG daemon.x: asked path=/a\\r\\nERROR daemon: forged")


def test_journald_gets_a_priority_on_each_line(stream: TextIO) -> None:
    """Under journald each line, also of a traceback, starts with the record's priority."""
    status = os.fstat(stream.fileno())
    journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    logs.configure("info", "auto", stream=stream, environment=journal)
    logger = logging.getLogger("daemon.x")
    logger.info("started", extra={"position": 7})
    try:
        int("boom")
    except ValueError:
        logger.exception("failed")
    lines = written(stream)
    assert lines[0] == "<6>daemon.x: started position=7"
    assert lines[1] == "<3>daemon.x: failed"
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines[1:])


def test_an_inherited_journal_variable_is_not_believed(stream: TextIO) -> None:
    """A child of a service whose output goes elsewhere writes JSON, not priorities."""
    logs.configure("info", "auto", stream=stream, environment={"JOURNAL_STREAM": "8:1"})
    logging.getLogger("daemon.x").warning("hello")
    assert json.loads(written(stream)[0])["message"] == "hello"


def test_a_terminal_gets_plain_lines(tmp_path: Path) -> None:
    """On a terminal the format is plain."""
    program = "from daemon import logs; logs.configure('info'); logs.logging.info('hello')"
    master, slave = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", program], stderr=slave, check=True)
        assert os.read(master, 4096).decode().rstrip().endswith("INFO root: hello")
    finally:
        os.close(master)
        os.close(slave)


def test_the_level_holds_for_every_logger(stream: TextIO) -> None:
    """Nothing below the level is written; the HTTP server's own chatter neither."""
    logs.configure("warning", "json", stream=stream)
    logging.getLogger("daemon.x").info("quiet")
    logs.configure("info", "json", stream=stream)
    logging.getLogger("uvicorn.error").info("Started server process")
    assert written(stream) == []
