"""What each decision of the design is worth: the same work one way and another, in one run."""

from __future__ import annotations

import gc
import marshal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial, reduce
from operator import or_
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import apsw
import orjson
from pydantic import Field, TypeAdapter, create_model

from benchmarks import writers
from benchmarks.children import PYTHON, child, lines_of
from benchmarks.client import percentile
from benchmarks.load import send
from benchmarks.suite import Bench, Figures
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append
from daemon.lifecycle import ServiceThread, settle_collector, system_clock
from daemon.lock import LOG_FILE, VIEWS_FILE
from daemon.projector.messages import Settings
from daemon.projector.process import ProjectorProcess
from domain.catalog import event_types
from domain.cloudevents import from_batch
from domain.events import NewEvent, Receipt, RecordedEvent
from domain.limits import Limits
from domain.prepared import prepare_all
from projections.runner import BATCH_EVENTS, ProjectionRunner

GROUP = 300
"""Rows of a commit where the size of a commit is not what is measured."""
BATCH = 1_000
STATE_BYTES = 200
SECONDS_MAX = 30.0
LIVE_OBJECTS = 200_000
"""How many objects a daemon at work may hold, for the collector's sake."""
_TABLE = """
    PRAGMA page_size={page};
    PRAGMA journal_mode=WAL;
    PRAGMA synchronous={synchronous};
    PRAGMA wal_autocheckpoint={checkpoint};
    CREATE TABLE events(
        position INTEGER PRIMARY KEY AUTOINCREMENT, stream {kind} NOT NULL,
        version INTEGER NOT NULL, state BLOB NOT NULL, UNIQUE(stream, version)
    );
"""

Row = tuple[Any, int, bytes]


def measure(bench: Bench) -> Figures:
    """Measure every decision."""
    events = bench.events("levers", bench.scale.rows).read_bytes().splitlines()
    figures: Figures = {}
    for lever in (
        storage,
        order_of_keys,
        decoding,
        hand_over,
        batches_of_projections,
        projections_beside,
        writers_beside,
        servers,
    ):
        figures |= lever(bench, events)
    return {f"levers/{name}": value for name, value in figures.items()}


# -- the database --------------------------------------------------------------------------------


def storage(bench: Bench, events: Sequence[bytes]) -> Figures:
    """Insert into a plain table: ids of streams, size of pages, checkpoints, syncs."""
    numbers, names = stream_rows(events)
    variants: dict[str, tuple[Sequence[Row], dict[str, Any]]] = {
        "as it is": (numbers, {}),
        "streams by random text": (names, {"kind": "TEXT"}),
        "pages of 8 KiB": (numbers, {"page": 8192}),
        "pages of 16 KiB": (numbers, {"page": 16384}),
        "checkpoint at 250 pages": (numbers, {"checkpoint": 250}),
        "checkpoint at 4,000 pages": (numbers, {"checkpoint": 4000}),
        "no checkpoint": (numbers, {"checkpoint": 0}),
        "synchronous NORMAL": (numbers, {"synchronous": "NORMAL"}),
    }
    figures: Figures = {}
    for name, (rows, options) in variants.items():
        figures |= {
            f"storage, {name}: {what}": value
            for what, value in insert(bench.fresh("lever") / "a.db", rows, **options).items()
        }
    return figures


def stream_rows(events: Sequence[bytes]) -> tuple[list[Row], list[Row]]:
    """Return the rows of a plain table, with streams as numbers and as random names."""
    names: dict[str, tuple[int, str]] = {}
    versions: dict[str, int] = {}
    numbered, named = list[Row](), list[Row]()
    for event in events:
        subject = orjson.loads(event)["subject"]
        number, name = names.setdefault(subject, (len(names) + 1, uuid.uuid4().hex))
        version = versions[subject] = versions.get(subject, 0) + 1
        numbered.append((number, version, event))
        named.append((name, version, event))
    return numbered, named


def insert(
    path: Path,
    rows: Sequence[Row],
    *,
    kind: str = "INTEGER",
    page: int = 4096,
    checkpoint: int = 1000,
    synchronous: str = "FULL",
) -> Figures:
    """Insert the rows in groups; return the rate, the slow commits, and the largest WAL."""
    wal, largest, seconds = path.with_name(f"{path.name}-wal"), 0, list[float]()
    table = _TABLE.format(kind=kind, page=page, checkpoint=checkpoint, synchronous=synchronous)
    with closing(apsw.Connection(str(path))) as db:
        db.execute(table).fetchall()
        for at in range(0, len(rows), GROUP):
            started = time.perf_counter()
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO events(stream, version, state) VALUES (?, ?, ?)", rows[at : at + GROUP]
            )
            db.execute("COMMIT")
            seconds.append(time.perf_counter() - started)
            largest = max(largest, wal.stat().st_size)
    return {
        "rows/s": len(rows) / sum(seconds),
        "commit p99 ms": percentile(sorted(seconds), 0.99) * 1000,
        "largest WAL MiB": largest / 2**20,
    }


def order_of_keys(bench: Bench, events: Sequence[bytes]) -> Figures:
    """Change rows of a large table by their key, in rising order and as the events come."""
    count = len(events)
    keys = Random(bench.seed).choices(range(count), k=count)
    with closing(apsw.Connection(str(bench.fresh("lever") / "a.db"))) as db:
        db.execute(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE states(number INTEGER PRIMARY KEY, state TEXT, time INTEGER)"
        ).fetchall()
        state = "x" * STATE_BYTES
        with db:
            db.executemany(
                "INSERT INTO states VALUES (?, ?, 0)", ((n, state) for n in range(count))
            )
        return {
            f"keys, {name}: cpu us/row": cpu(partial(_change, db, keys, arranged)) / count
            for name, arranged in (("as it is", sorted), ("in the order of the events", list))
        }


def _change(
    db: apsw.Connection, keys: Sequence[int], arranged: Callable[[Sequence[int]], list[int]]
) -> None:
    for at in range(0, len(keys), BATCH_EVENTS):
        rows = [(at, number) for number in arranged(keys[at : at + BATCH_EVENTS])]
        with db:
            db.executemany("UPDATE states SET time = ? WHERE number = ?", rows)


# -- decoding, and the collector -----------------------------------------------------------------


def decoding(_bench: Bench, events: Sequence[bytes]) -> Figures:
    """Make events of the bytes of a batch: as we do, by a typed model, without any check."""
    batches = [
        b"[" + b",".join(events[at : at + BATCH]) + b"]" for at in range(0, len(events), BATCH)
    ]
    typed = typed_envelopes()
    count = len(events)
    figures = {
        "decoding, as it is: cpu us/event": cpu(lambda: _all(_decode, batches)) / count,
        "decoding, one typed model: cpu us/event": cpu(lambda: _all(typed.validate_json, batches))
        / count,
        "decoding, JSON alone: cpu us/event": cpu(lambda: _all(orjson.loads, batches)) / count,
    }
    ballast = [{"id": number} for number in range(LIVE_OBJECTS)]
    with collector(frozen=False):
        figures["decoding, collector not tuned: cpu us/event"] = (
            cpu(lambda: _all(_decode, batches)) / count
        )
    with collector(frozen=True):
        figures["decoding, collector tuned: cpu us/event"] = (
            cpu(lambda: _all(_decode, batches)) / count
        )
    del ballast
    return figures


def _decode(batch: bytes) -> list[NewEvent]:
    return from_batch(batch, Limits())


def _all(decode: Callable[[bytes], Any], batches: Sequence[bytes]) -> None:
    for batch in batches:
        decode(batch)


def typed_envelopes() -> TypeAdapter[Any]:
    """Return the model of a batch: the payloads of all types, told apart by the type."""
    text, optional = (str, ...), (str | None, None)
    envelope: dict[str, Any] = {
        "specversion": (Literal["1.0"], ...),
        **dict.fromkeys(("id", "source", "subject"), text),
        **dict.fromkeys(("time", "correlationid", "causationid", "traceparent"), optional),
    }
    models = []
    for entry in event_types():
        of_type: dict[str, Any] = {"type": (Literal[entry.name], ...), "data": (entry.model, ...)}
        models.append(create_model(entry.name.replace(".", "_"), **envelope, **of_type))
    union: Any = reduce(or_, models)
    return TypeAdapter(list[Annotated[union, Field(discriminator="type")]])


@contextmanager
def collector(*, frozen: bool) -> Iterator[None]:
    """Run with the collector as Python sets it up, or as the daemon and its children do."""
    before = gc.get_threshold()
    if frozen:
        settle_collector()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def cpu(work: Callable[[], Any]) -> float:
    """Return the microseconds of processor time that some work takes."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e6


# -- from the writer to the projections ----------------------------------------------------------


def hand_over(bench: Bench, events: Sequence[bytes]) -> Figures:
    """Give events to the projections: read from the log again, or passed on in memory."""
    directory = bench.fresh("lever")
    new: list[NewEvent] = []
    receipts: list[Receipt] = []
    with closing(EventLog.open(directory / "log.db", synchronous="OFF")) as log:
        log.start()
        for at in range(0, len(events), BATCH):
            part = _decode(b"[" + b",".join(events[at : at + BATCH]) + b"]")
            new += part
            receipts += log.append(part).receipts
        count = len(new)
        return {
            "hand-over, as it is: cpu us/event": cpu(lambda: _read(log)) / count,
            "hand-over, in memory: cpu us/event": cpu(lambda: _recorded(new, receipts)) / count,
            "hand-over, in memory to another process: cpu us/event": cpu(
                lambda: _sent(new, receipts)
            )
            / count,
        }


def _read(log: EventLog) -> None:
    position = 0
    while page := log.read(position, BATCH):
        position = page[-1].position


def _recorded(new: Sequence[NewEvent], receipts: Sequence[Receipt]) -> None:
    for event, receipt in zip(new, receipts, strict=True):
        RecordedEvent(
            receipt.position, receipt.stream, receipt.version, event.type, event.time or 0, 0,
            event.source, event.id, event.data, orjson.loads(event.data), event.extensions or {},
            event.class_version,
        )  # fmt: skip


def _sent(new: Sequence[NewEvent], receipts: Sequence[Receipt]) -> None:
    for at in range(0, len(new), BATCH):
        rows = [
            (*receipt, event.type, event.time, event.source, event.data, event.extensions)
            for event, receipt in zip(new[at : at + BATCH], receipts[at : at + BATCH], strict=True)
        ]
        for row in marshal.loads(marshal.dumps(rows)):
            RecordedEvent(
                row[1], row[2], row[3], row[6], row[7], 0, row[8], row[0], row[9],
                orjson.loads(row[9]), row[10] or {},
            )  # fmt: skip


def batches_of_projections(bench: Bench, events: Sequence[bytes]) -> Figures:
    """Bring the views on with more and fewer events a transaction."""
    figures: Figures = {}
    directory = bench.fresh("lever")
    with closing(EventLog.open(directory / "log.db", synchronous="OFF")) as log:
        log.start()
        for at in range(0, len(events), BATCH):
            log.append(_decode(b"[" + b",".join(events[at : at + BATCH]) + b"]"))
        for size in (100, 1_000, BATCH_EVENTS, 20_000):
            views = directory / f"views-{size}.db"
            with closing(ProjectionRunner(views, log, build_events=size)) as runner:
                name = "as it is" if size == BATCH_EVENTS else f"{size:,} events a transaction"
                figures[f"projections, {name}: cpu us/event"] = cpu(runner.catch_up) / len(events)
    return figures


def projections_beside(bench: Bench, events: Sequence[bytes]) -> Figures:
    """Append while the projections follow in a process of their own, on a thread, or not."""
    figures: Figures = {}
    for name, following in (
        ("as it is", _process),
        ("on a thread", _thread),
        ("without any", lambda _: nullcontext()),
    ):
        place = bench.fresh("lever")
        with closing(EventLog.open(place / LOG_FILE)) as log, following(log):
            log.start()
            started, until = time.perf_counter(), time.perf_counter() + bench.scale.seconds
            for at in range(0, len(events), BATCH):
                log.append(_decode(b"[" + b",".join(events[at : at + BATCH]) + b"]"))
                if time.perf_counter() > until:
                    break
            seconds = time.perf_counter() - started
            figures[f"beside the projections, {name}: events/s"] = log.head() / seconds
    return figures


@contextmanager
def _process(log: EventLog) -> Iterator[None]:
    settings = Settings(
        log=log.path,
        views=str(Path(log.path).with_name(VIEWS_FILE)),
        batch_events=BATCH_EVENTS,
        synchronous="NORMAL",
        level="warning",
        style="plain",
    )
    with closing(ProjectorProcess(settings)) as projector:
        projector.start()
        projector.opened(SECONDS_MAX)
        log.on_commit(lambda _: projector.wake())
        yield


@contextmanager
def _thread(log: EventLog) -> Iterator[None]:
    with closing(ProjectionRunner(Path(log.path).with_name(VIEWS_FILE), log)) as runner:
        log.on_commit(lambda _: runner.wake())
        thread = ServiceThread(runner, system_clock)
        thread.start()
        yield
        thread.stop()


def writers_beside(bench: Bench, events: Sequence[bytes]) -> Figures:
    """Decode and append with many requests under way: the writer on a thread, or a process."""
    figures: Figures = {}
    for kind, size, under_way in (("batches of 100", 100, 8), ("single events", 1, 64)):
        bodies = [
            b"[" + b",".join(events[at : at + size]) + b"]" for at in range(0, len(events), size)
        ]
        for name, through in (("as it is", _through_thread), ("a process", _through_process)):
            room = threading.Semaphore(under_way)
            started, done = time.perf_counter(), 0
            until = started + bench.scale.seconds
            with through(bench.fresh("lever") / LOG_FILE, room) as append:
                for body in bodies:
                    room.acquire()
                    append(prepare_all(_decode(body)))
                    done += size
                    if time.perf_counter() > until:
                        break
                for _ in range(under_way):
                    room.acquire()
                seconds = time.perf_counter() - started
            figures[f"writer of {kind}, {name}: events/s"] = done / seconds
    return figures


@contextmanager
def _through_thread(path: Path, room: threading.Semaphore) -> Iterator[Callable[[Any], None]]:
    with closing(EventLog.open(path)) as log:
        log.start()
        yield lambda events: log.submit(Append(events), lambda _: room.release())


@contextmanager
def _through_process(path: Path, room: threading.Semaphore) -> Iterator[Callable[[Any], None]]:
    def hear() -> None:
        while told := said.read1(4096):
            room.release(len(told))

    command = [PYTHON, "-m", "benchmarks.writers", path]
    with child(command, log=path.with_name("writer.log"), piped=True) as process:
        said: Any = lines_of(process)
        said.read(1)
        hearing = threading.Thread(target=hear)
        hearing.start()
        assert process.stdin is not None
        yield partial(writers.send, process.stdin)
        process.stdin.close()
        hearing.join()


# -- the server ----------------------------------------------------------------------------------


def servers(bench: Bench, _events: Sequence[bytes]) -> Figures:
    """Answer requests that ask for nothing, with more and fewer layers around them."""
    figures: Figures = {}
    events = bench.load_events("served", 0.2)
    for name in ("asyncio h11 bare", "asyncio httptools bare", "uvloop httptools bare",
                 "uvloop httptools starlette", "uvloop httptools fastapi"):  # fmt: skip
        place = bench.fresh("lever") / "s"
        command = [PYTHON, "-m", "benchmarks.servers", str(place), *name.split()]
        with child(command, log=bench.scratch / "server.log", piped=True) as server:
            lines_of(server).readline()
            seen = send(
                str(place), bench.scratch, clients=64, events=events, seconds=bench.scale.seconds
            )
        figures[f"server, {name}: requests/s"] = seen.rate
    return figures
