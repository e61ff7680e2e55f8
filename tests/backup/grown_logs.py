"""Random logs that grow step by step, with everything that a log can hold."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from epoch_log import resume
from hypothesis import strategies as st

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, DeadLetter, Follow, Work
from daemon.eventlog.statements import named_statements
from daemon.eventlog.transaction import Stored, Transaction
from domain.events import NewEvent

START = 1_767_225_600_000_000
_RECORDER = named_statements(Path(__file__).parents[2] / "daemon" / "eventlog" / "recorder.sql")
TEXTS = st.sampled_from(
    ["a", "b/c", "d%2Fe", "Ümläut ✓", "日本/語", "x" * 300, '\u2028 e\u0301 f"', "😀"]
)
FREE_TEXTS = TEXTS | st.sampled_from(["", "null\x00byte", "line\n"])


class Step(NamedTuple):
    """One thing that happens to a log: its kind, and what it is made of."""

    kind: str
    what: Any


def _events() -> st.SearchStrategy[Step]:
    extensions = st.none() | st.fixed_dictionaries(
        {}, optional={"correlationid": TEXTS, "count": st.integers(-9, 9), "hot": st.booleans()}
    )
    one = st.tuples(TEXTS, st.sampled_from(["/a", "urn:b"]), TEXTS, extensions)
    return st.lists(one, min_size=1, max_size=6).map(lambda what: Step("events", what))


def _library() -> st.SearchStrategy[Step]:
    one = st.tuples(FREE_TEXTS, FREE_TEXTS, st.binary(max_size=20))
    what = st.tuples(st.sampled_from(["app", "Ä \x00 b", ""]), st.lists(one, max_size=4))
    return what.map(lambda drawn: Step("library", drawn))


STEPS = st.one_of(
    _events(),
    _library(),
    st.lists(st.binary(max_size=3), min_size=1, max_size=3).map(lambda w: Step("letters", w)),
    st.tuples(TEXTS, st.integers(1, 99)).map(lambda w: Step("follow", w)),
    st.tuples(FREE_TEXTS, FREE_TEXTS, st.integers(1, 99)).map(lambda w: Step("track", w)),
    st.sampled_from([0, 1, 1_000_000]).map(lambda gap: Step("epoch", gap)),
    st.integers(1, 7).map(lambda most: Step("ship", most)),
)


class Growing:
    """A log in a file that steps are done to; now and then the clock is set back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = START
        self._number = 0
        self._log: EventLog | None = None
        self._opened()

    def do(self, step: Step) -> None:
        """Do a step."""
        self._number += 1
        self.now += -500_000 if self._number % 5 == 0 else 1_000_003
        if step.kind == "epoch":
            self.close()
            resume(self.path, gap=step.what, now=self.now)
        else:
            getattr(self, f"_{step.kind}")(step.what)

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _opened(self) -> EventLog:
        if self._log is None:
            self._log = EventLog.open(self.path, clock=lambda: self.now, synchronous="OFF")
        return self._log

    def _drive(self, request: Append | Work) -> None:
        log, outcomes = self._opened(), list[Any]()
        log.submit(request, outcomes.append)
        log.writer.step(self.now)
        assert not isinstance(outcomes[0], BaseException), outcomes

    def _events(self, what: list[tuple[str, str, str, Any]]) -> None:
        events = []
        for n, (subject, source, id_, extensions) in enumerate(what):
            id_, data = f"{id_} {self._number} {n}", b'{"number":%d}' % n
            events.append(
                NewEvent("job.progressed", subject, source, id_, data, extensions=extensions)
            )
        self._drive(Append(events))

    def _library(self, what: tuple[str, list[tuple[str, str, bytes]]]) -> None:
        application, rows = what
        stored = [
            Stored(name, self._number * 10 + n, topic, state)
            for n, (name, topic, state) in enumerate(rows)
        ]
        self._drive(Work(lambda work: work.insert_stored(application, stored)))

    def _letters(self, what: list[bytes]) -> None:
        letters = [DeadLetter("text", raw, "bad", "it is \x00 bad", "a test") for raw in what]
        self._drive(Append([], letters))

    def _follow(self, what: tuple[str, int]) -> None:
        name, end = what
        self._drive(Append([], follow=Follow(name, 0, end)))

    def _track(self, what: tuple[str, str, int]) -> None:
        def track(transaction: Transaction) -> None:
            transaction.connection.execute(_RECORDER["set_tracking"], what)

        self._drive(Work(track))


def grown(path: Path, steps: list[Step]) -> Path:
    """Return a log that steps were done to, closed."""
    growing = Growing(path)
    for step in steps:
        if step.kind != "ship":
            growing.do(step)
    growing.close()
    return path


def rows_of(path: Path, upto: int | None = None) -> dict[str, list[Any]]:
    """Return every row of every table of a log; with ``upto`` of events and names up to there."""
    end = 2**63 - 1 if upto is None else upto
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        found: dict[str, Any] = {
            name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in names
        }
        found["events"] = db.execute(
            "SELECT * FROM events WHERE position <= ? ORDER BY position", (end,)
        ).fetchall()
        if upto is not None:
            for table, number in (
                ("streams", "stream_id"), ("types", "type_id"), ("sources", "source_id")
            ):  # fmt: skip
                found[table] = db.execute(
                    f"SELECT * FROM {table} WHERE {number} IN "
                    f"(SELECT {number} FROM events WHERE position <= ?) ORDER BY 1",
                    (end,),
                ).fetchall()
    return found


def positions_of(path: Path) -> list[int]:
    """Return the positions of the events of a log."""
    return [row[0] for row in rows_of(path)["events"]]
