"""The words of jobs: the projection `search`, and how words become a search.

Full text is the dearest thing to write, so it is written only when a text changed, and nothing
else waits for it: it is a projection of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from operator import attrgetter
from typing import Final

import apsw

from domain.job import WITH_ERROR, JobState
from projections.job_states import JOB_TYPES, Before
from projections.paging import invalid
from projections.seam import Batch, Rows
from projections.sql import named_statements, statements_of

QUERY_CHARACTERS_MAX: Final = 1_000
"""How long the words of a search may be together."""

MERGED_PAGES: Final = 500
"""How many pages of the index are merged in one step, about."""

Words = tuple[str | None, str | None, str | None]


class Search:
    """The names, errors and messages of jobs, by their words."""

    name = "search"
    version = 3
    types = JOB_TYPES
    ordered: frozenset[str] = frozenset()

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("search.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> SearchFold:
        """Return the fold over the tables with this prefix."""
        return SearchFold(db, prefix)

    def whole_rows(self, batch: Batch) -> Rows:
        """Return the words of each job that has some."""
        words = [(*_words(state), job) for job, _, state, _, _, _ in batch.jobs]
        return {"insert_words": [row for row in words if row[:3] != _WORDLESS]}

    def whole_statements(self, prefix: str) -> Mapping[str, str]:
        """Return the statement of the words."""
        return statements_of("search.sql", prefix, "insert_words")


class SearchFold:
    """Writes the words of the jobs of a batch, where they changed."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("search.sql", prefix)

    def forget(self) -> None:
        """Nothing is remembered here."""

    def apply(self, batch: Batch) -> None:
        """Write the words of each job where they changed."""
        new, changed = [], []
        jobs = batch.jobs
        gone = [(job,) for job in batch.gone]
        for job, before, state, _, _, _ in jobs:
            if before is None:
                shown = _WORDLESS
            elif _of_words(state) == _of_words(before):
                continue
            else:
                shown = _words(before)
            now = _words(state)
            if now == shown:
                continue
            if shown == _WORDLESS:
                new.append((*now, job))
            elif now == _WORDLESS:
                # As if it never had any: the rows must not tell where a batch ended.
                gone.append((job,))
            else:
                changed.append((*now, job))
        self._db.executemany(self._sql["delete_words"], gone)
        if batch.gone:
            self._db.execute(self._sql["note_gone"], (1,))
        self._db.executemany(self._sql["insert_words"], new)
        self._db.executemany(self._sql["replace_words"], changed)


def merge_words(db: apsw.Connection) -> bool:
    """Merge a part of the live index where jobs have ended; return whether there was one to merge.

    Until all of it is merged the file has their words: an index only notes what is deleted.
    """
    stage = db.execute(_SQL["find_gone"]).get
    if stage is None:
        return False
    with db:
        before = db.total_changes()
        # An index that somebody took away has no words.
        with suppress(apsw.SQLError):
            db.execute(_SQL["merge"], (-MERGED_PAGES if stage == 1 else MERGED_PAGES,))
        # So says SQLite that there was nothing left to merge.
        if stage != 1 and db.total_changes() - before < 2:
            db.execute(_SQL["forget_gone"])
        else:
            db.execute(_SQL["note_gone"], (2,))
    return True


_SQL = named_statements("search.sql")
_WORDLESS: Final[Words] = (None, None, None)
_of_words = attrgetter("name", "message", "error", "status")


def _words(job: JobState | Before) -> Words:
    error = job.error
    if error is None or job.status not in WITH_ERROR:
        return job.name, None, job.message
    text = " ".join([error[part] for part in ("class", "message") if error.get(part)])
    return job.name, text, job.message


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
