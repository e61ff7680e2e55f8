"""The words of jobs: the projection `search`, and how words become a search.

Full text is the dearest thing to write, so it is written only when a text changed, and nothing
else waits for it: it is a projection of its own.
"""

from __future__ import annotations

import unicodedata
from operator import attrgetter
from typing import Any, Final

import apsw
import orjson

from domain.events import RecordedEvent
from domain.job import JobState, JobStatus, advance_job
from projections.jobs import COURSE_TYPES
from projections.paging import invalid
from projections.seam import Batch
from projections.sql import named_statements
from projections.states import EntityStates, advanced, narrowed

QUERY_CHARACTERS_MAX: Final = 1_000
"""How long the words of a search may be together."""

_FIELDS: Final = ("name", "error", "message", "reason")
_state_of = attrgetter("status", "status_time", "name", "error", "message", "clock")


class Search:
    """The names, errors and messages of jobs, by their words."""

    name = "search"
    version = 1
    types = COURSE_TYPES

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("search.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> SearchFold:
        """Return the fold over the tables with this prefix."""
        return SearchFold(db, prefix)


class SearchFold:
    """Writes the words of the jobs of a batch, where they changed."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("search.sql", prefix)
        self._states = EntityStates(self._load)

    def forget(self) -> None:
        """Drop what is remembered of the rows."""
        self._states.forget()

    def _load(self, job: int) -> JobState | None:
        row: Any = self._db.execute(self._sql["load_words"], (job,)).fetchone()
        if row is None:
            return None
        status, status_time, clock, name, message, error = row
        state = JobState("", job, 0, 0)
        state.status, state.status_time = JobStatus(status), status_time
        state.clock = orjson.loads(clock)
        state.name, state.message = name, message
        state.error = None if error is None else {"text": error}
        return state

    def apply(self, batch: Batch) -> None:
        """Fold the events of each job and write its words where they changed."""
        jobs, words, wordless = [], [], []
        states: dict[int, JobState] = {}
        for job, state, events in self._states.before(batch):
            telling = [_narrowed(event) for event in events if _tells(event)]
            if not telling:
                continue
            before = None if state is None else _state_of(state)
            shown = (None, None, None) if state is None else _words(state)
            states[job] = after = advanced(advance_job, state, telling)
            if _state_of(after) == before:
                continue
            now = _words(after)
            hidden = _text(after.error) if now[1] is None else None
            clock = orjson.dumps(after.clock).decode()
            jobs.append((after.status, after.status_time, hidden, clock, job))
            if now == shown:
                continue
            if any(text is not None for text in now):
                words.append((*now, job))
            else:
                # As if it never had any: the rows must not tell where a batch ended.
                wordless.append((job,))
        self._db.executemany(self._sql["write_job"], jobs)
        self._db.executemany(self._sql["write_words"], words)
        self._db.executemany(self._sql["delete_words"], wordless)
        self._states.keep(states, batch)


def _narrowed(event: RecordedEvent) -> RecordedEvent:
    event = narrowed(event, _FIELDS)
    error = event.payload.get("error")
    if error is None:
        return event
    text = " ".join(error[part] for part in ("class", "message") if error.get(part))
    return event._replace(payload={**event.payload, "error": {"text": text}})


def _tells(event: RecordedEvent) -> bool:
    return event.type != "job.progressed" or "message" in event.payload


def _text(error: Any) -> str | None:
    return None if error is None else error["text"]


def _words(state: JobState) -> tuple[str | None, str | None, str | None]:
    return state.name, _text(state.shown_error), state.message


def match_expression(q: str) -> str:
    """Return the full-text expression for jobs that hold all words of ``q``.

    Every word is quoted, so that nothing in it is an operator.

    Raises:
        Invalid: there is no word in it, or it is too long.

    """
    if len(q) > QUERY_CHARACTERS_MAX:
        raise invalid("q", f"q is longer than {QUERY_CHARACTERS_MAX} characters")
    # A NUL would end the expression for SQLite's parser.
    words = [word for word in q.replace("\0", " ").split() if _has_token(word)]
    if not words:
        raise invalid("q", "q holds no word to look for")
    return " ".join('"' + word.replace('"', '""') + '"' for word in words)


def _has_token(word: str) -> bool:
    """Whether the full-text index sees a letter or digit in a word."""
    return any(unicodedata.category(letter)[0] in "LN" for letter in word)
