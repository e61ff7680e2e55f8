"""Targets of what was kept: archive, exports, cursors, configuration; and of what views show."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import orjson
import zstandard
from fuzz_backup import scratch
from fuzz_intake import LIMITS, messages
from fuzz_target import Target, refusing
from histories import chained_again, exported, fill
from log_driving import Clock, drive

from daemon.api.timeline import _related
from daemon.archive.container import HEAD_BYTES, Head, Unpacking, pack
from daemon.archive.lines import First, decode, encode, event_of
from daemon.config import load
from daemon.eventlog.log import EventLog
from daemon.eventlog.proof import prove_log
from daemon.intake.formats import FORMATS, Decoded
from daemon.intake.recording import line_request, read_lines
from daemon.lock import LOG_FILE
from daemon.replay.importing import import_history
from daemon.replay.lines import appendable, read_batches
from domain.catalog import event_types, example_of
from domain.errors import ChronicledError
from domain.events import NewEvent
from projections.alerts import AlertFilter
from projections.cursor import encode_cursor, position_in
from projections.files import FileFilter
from projections.job_list import JobFilter
from projections.paging import Page
from projections.runner import ProjectionRunner
from projections.views import Views

FOLDER = Path(tempfile.gettempdir())


def _recorded() -> list[NewEvent]:
    """Return events of every type, of a few streams."""
    return [
        NewEvent(entry.name, f"{entry.category}-{n}", "/fuzz", f"{entry.name}-{n}",
                 orjson.dumps(example_of(entry.name)),
                 extensions={"correlationid": "run-1"} if n else None)
        for n in range(2)
        for entry in event_types()
    ]  # fmt: skip


@cache
def _export() -> bytes:
    """Return an export of a log with events of every type."""
    with scratch() as folder:
        client = [event for event in _recorded() if event.type.partition(".")[0] != "log"]
        return exported(fill(Path(folder), [client[:30], client[30:]]))


# -- exports ---------------------------------------------------------


def export_seeds() -> list[bytes]:
    """Return inputs of `read_export`: as it is, compressed, and to be chained again."""
    lines = _export().splitlines()
    few = [lines[0], *lines[1:6], lines[-1]]
    return [
        b"R" + _export(),
        b"R" + zstandard.compress(_export()),
        b"R" + b"\n".join(few) + b"\n",
        b"C" + b"\n".join(lines),
        *(b"L" + line for line in lines[1::7]),
    ]


def _again(text: bytes) -> bytes:
    """Return an export with right digests, as far as its lines can be read at all."""
    try:
        return chained_again(text.split(b"\n"), lambda *_: None)
    except (ChronicledError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return text


def read_export(raw: bytes) -> bool:
    """Import an export into an empty directory: a log that verifies, or a refusal and nothing."""
    kind, rest = raw[:1], raw[1:]
    if kind == b"L":
        line, known = appendable(rest)
        assert known or line is None
        return known
    text = _again(rest) if kind == b"C" else rest
    with scratch() as folder, refusing():
        try:
            batches = read_batches(io.BufferedReader(io.BytesIO(text)))
            trailer = import_history(batches, Path(folder))
        except ChronicledError:
            left = [each.name for each in Path(folder).iterdir() if each.name.startswith("log")]
            assert not left, f"left behind: {left}"
            raise
        proof = prove_log(Path(folder, LOG_FILE), at_rest=True)
        assert not proof.findings, f"imported, and not right: {proof.findings[0]}"
        assert exported(Path(folder, LOG_FILE)), trailer
        return True
    return False


# -- the archive ---------------------------------------------------------


@cache
def _job_object() -> tuple[bytes, bytes]:
    """Return the content of a job's object, and the object."""
    lines = [
        line
        for line in _export().splitlines()[1:-1]
        if b'"subject":"job-1"' in line or b'"subject":"file-1"' in line
    ]
    first = First(job="job-1", log_id="a-log", version=len(lines))
    content = b"".join(encode(first, lines))
    return content, _packed(content)


def _packed(content: bytes) -> bytes:
    with pack("job", "a-log", [content], FOLDER).file as file:
        return file.read()


def archive_seeds() -> list[bytes]:
    """Return inputs of `read_archive`: an object, a head and what it is before, lines."""
    content, whole = _job_object()
    head = Head.read(whole[:HEAD_BYTES], "x").model_dump_json().encode()
    lines = content.splitlines()
    return [
        b"R" + whole,
        b"H" + head + b"\n" + whole[HEAD_BYTES:],
        b"C" + content,
        b"E" + b"\n".join(lines[:-1]),
        b"E" + b"\n".join(lines[:3]),
    ]


def _archived(raw: bytes) -> bytes:
    """Return the object that an input asks for."""
    kind, rest = raw[:1], raw[1:]
    if kind == b"H":
        told, _, packed = rest.partition(b"\n")

        class Said:
            def model_dump_json(self) -> str:
                return told.decode(errors="replace")[:300]

        return Head.frame(Said())[:HEAD_BYTES] + packed  # type: ignore[arg-type]
    if kind == b"E":
        first, *lines = rest.split(b"\n")
        made = b"".join(encode(First(job="job-1", log_id="a-log", version=3), lines))
        return _packed(first + b"\n" + made.partition(b"\n")[2])
    return _packed(rest) if kind == b"C" else rest


def read_archive(raw: bytes) -> bool:
    """Read an object of the archive, and every event in it."""
    whole, taken = _archived(raw), 0
    with refusing():
        pieces = [whole[start : start + 700] for start in range(0, len(whole), 700)]
        found = decode(Unpacking(pieces, "an object"), "an object")
        with refusing():
            assert len(found.upto(2).own) <= len(found.own)
        for line in (*found.own, *found.results):
            with refusing():
                event_of(line, "an object")
                taken += 1
    return taken > 0


# -- cursors ---------------------------------------------------------


class _Lists:
    """Views of a small log, and every list of them."""

    def __init__(self) -> None:
        self._folder = scratch()
        path = Path(self._folder.name)
        self.log = EventLog.open(path / LOG_FILE, clock=Clock())
        names = {entry.name for entry in event_types() if entry.client}
        drive(self.log, [event for event in _recorded() if event.type in names])
        runner = ProjectionRunner(path / "views.db", self.log)
        runner.catch_up()
        runner.close()
        views = Views(path / "views.db")
        self.lists: list[Callable[[str | None], Page]] = [
            lambda cursor: views.list_jobs(JobFilter(), "-submitted", 1, cursor),
            lambda cursor: views.list_jobs(JobFilter(), "-updated", 1, cursor),
            lambda cursor: views.list_alerts(AlertFilter(), 1, cursor),
            lambda cursor: views.list_files(FileFilter(), 1, cursor),
            lambda cursor: views.list_files(FileFilter(prefix=""), 1, cursor),
            lambda cursor: views.list_tasks(limit=1, cursor=cursor),
            lambda cursor: views.list_workflows(limit=1, cursor=cursor),
            lambda cursor: views.list_queues(1, cursor),
            lambda cursor: views.history("job-1", limit=1, cursor=cursor),
        ]
        self.cursors = [self._first(each) for each in self.lists]

    @staticmethod
    def _first(read: Callable[[str | None], Page]) -> str:
        return read(None).next or encode_cursor("none", (1, 1))


@cache
def _lists() -> _Lists:
    return _Lists()


def cursor_seeds() -> list[bytes]:
    """Return cursors as they are, keys to be bound to their list, and entities of a timeline."""
    seeds = [cursor.encode() for cursor in _lists().cursors]
    seeds += [b"%d" % n + _key(cursor) for n, cursor in enumerate(_lists().cursors)]
    return [*seeds, b"[1.0.-1,2.1.0,3.2.1", b"["]


def _key(cursor: str) -> bytes:
    from projections.cursor import _parts

    return orjson.dumps(_parts(cursor)[1:])


def read_cursor(raw: bytes) -> bool:
    """Go on with every list from a cursor: a page of it, or a refusal."""
    lists, taken = _lists(), 0
    text = raw.decode(errors="surrogateescape")
    with refusing():
        position_in(text)
    for read in lists.lists:
        with refusing():
            read(text)
            taken += 1
    if raw[:1] == b"[":
        with refusing():
            _related(SimpleNamespace(log=lists.log), text[1:])  # type: ignore[arg-type]
    with suppress(orjson.JSONDecodeError, ValueError):
        number = int(text[:1]) % len(lists.lists)
        key = orjson.loads(raw[1:])
        bound = orjson.loads(_bound(lists.cursors[number]))[0]
        if isinstance(key, list):
            cursor = encode_cursor(bound, key)
            with refusing():
                page = lists.lists[number](cursor)
                assert len(page.items) <= 1, "more than a page"
                taken += 1
    return taken > 0


def _bound(cursor: str) -> bytes:
    from projections.cursor import _parts

    return orjson.dumps(_parts(cursor))


# -- configuration ---------------------------------------------------------

CONFIGURATION = """
[server]
listen = "127.0.0.1:8400"
batch_events = 2000
[log]
synchronous = "EXTRA"
[backup]
url = "file:///srv/backup"
keep = "24 hourly, 7 daily"
snapshot = "0 3 * * *"
[workflows]
overdue = "90m"
overdue_for = { "sql-load:events" = "30m" }
[retention]
preset = "flowlord"
archive = "file:///srv/archive"
[[retention.policies]]
category = "job"
status = "failed"
age = "ended"
archive_after = "30d"
purge_after = "forever"
[maintenance]
scrub = "off"
[[sources]]
name = "tasks"
kind = "nats"
url = "nats://127.0.0.1:4222"
stream = "TASKS"
subject = "tasks.done"
[[webhooks]]
name = "pager"
url = "https://pager.example/events"
types = ["alert.*"]
start = "7"
"""


def read_configuration(raw: bytes) -> bool:
    """Load a configuration file: settings, or every fault of it."""
    with scratch() as folder, refusing():
        path = Path(folder, "chronicled.toml")
        path.write_bytes(raw)
        for setting in load(file=path, data=folder, environment={}).settings():
            str(setting)
        return True
    return False


# -- from intake to the views ---------------------------------------------------------

INPUTS_MAX = 400
"""After so many inputs a new log is begun, so that none grows without bounds."""


class _Daemon:
    """A log in memory with its projections, fed as a daemon feeds them."""

    def __init__(self) -> None:
        self.fed = 0
        self._folder = scratch()
        self.log = EventLog.open(":memory:", clock=Clock())
        self.runner = ProjectionRunner(Path(self._folder.name, "views.db"), self.log)

    def feed(self, name: str, body: bytes) -> bool:
        """Record lines of a format, and fold what came of them; return whether there were any."""
        chosen, before = FORMATS[name], self.log.head()
        with refusing():
            lines = [self._new(line) for line in read_lines(chosen, body, LIMITS, "fuzz")]
            (outcome,) = drive(self.log, line_request(chosen, lines, "fuzz", None, len(body)))
            if isinstance(outcome, BaseException):
                raise outcome
            self.runner.catch_up()
        self.fed += 1
        for each in self.runner.status():
            assert not each.error, f"{each.name} failed: {each.error}"
        return self.log.head() > before

    def _new(self, line: Decoded) -> Decoded:
        """Return a line whose events are no repeats of earlier ones, mutated as they may be."""
        return replace(
            line,
            key="",
            events=tuple(each._replace(id=f"{each.id}/{self.fed}") for each in line.events),
        )

    def close(self) -> None:
        """Remove it."""
        self.runner.close()
        self.log.close()
        self._folder.cleanup()


_daemon: list[_Daemon] = []


def record_and_show(raw: bytes) -> bool:
    """Record a body of the format that its first line names, and show it in the views."""
    name, _, body = raw.partition(b"\n")
    format_ = name.decode(errors="replace")
    if format_ not in FORMATS:
        return False
    if _daemon and _daemon[0].fed >= INPUTS_MAX:
        _daemon.pop().close()
    if not _daemon:
        _daemon.append(_Daemon())
    try:
        return _daemon[0].feed(format_, body)
    except BaseException:
        _daemon.pop().close()
        raise


def recorded_seeds() -> Sequence[bytes]:
    """Return bodies of every format, each after a line with its name."""
    return [
        name.encode() + b"\n" + b"\n".join(lines)
        for name in FORMATS
        for lines in ([each] for each in messages(name))
    ]


TARGETS = [
    Target("cursor", cursor_seeds, read_cursor, json=False),
    Target("archive-object", archive_seeds, read_archive),
    Target("export", export_seeds, read_export),
    Target(
        "configuration",
        lambda: [CONFIGURATION.encode()],
        read_configuration,
        json=False,
        words=("[server]", "[[webhooks]]", "= true", "= 0", '= "', "= []", "forever"),
    ),
    Target("intake-to-views", recorded_seeds, record_and_show),
]
