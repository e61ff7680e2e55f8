"""The state of a file: what was last seen of it, what matched it, and what became of it."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from recorded import RANKS, file_events, in_log_order, recorded

from domain.events import RecordedEvent
from domain.file import FileState, file_view, fold_file

STATE_OF = {
    "file.observed": ("observed", "facts"),
    "file.processed": ("processed", "outcome"),
    "file.removed": ("removed", "outcome"),
}


def fold(*events: RecordedEvent) -> FileState:
    """Return the file after these events, which the log got in this order."""
    return fold_file(None, in_log_order(list(events)))


@given(events=file_events(ties=True))
def test_the_fold_agrees_with_sorting(events: list[RecordedEvent]) -> None:
    """State, facts, match and outcome are those of the greatest event of their kind."""
    expected: dict[str, Any] = {"state": "observed", "facts": {}, "match": {}, "outcome": {}}
    for event in sorted(events, key=lambda one: (one.time, RANKS.get(one.type, 0), one.position)):
        if event.type == "file.matched":
            expected["match"] = event.payload
        else:
            expected["state"], group = STATE_OF[event.type]
            expected[group] = event.payload
    state = fold_file(None, events)
    assert {name: getattr(state, name) for name in expected} == expected
    observed = [event.time for event in events if event.type == "file.observed"]
    assert state.observations == len(observed)
    assert state.observed == max(observed, default=None)
    assert state.first_observed == min(observed, default=None)


def test_a_file_runs_through_its_life() -> None:
    """Seen, matched and processed: the view with its fixed names."""
    path = "gs://raw/a/part-1.gz"
    state = fold(
        recorded("file.observed", {"path": path, "size": 9, "checksum": "c"}, subject=path),
        recorded("file.matched", {"workflow": "w.toml", "jobs": ["j"]}, at=1, subject=path),
        recorded("file.processed", {"outcome": "loaded", "job": "j"}, at=2, subject=path),
    )
    assert orjson.loads(orjson.dumps(file_view(state))) == {
        "path": path,
        "state": "processed",
        "size": 9,
        "checksum": "c",
        "linecnt": None,
        "bytecnt": None,
        "created": None,
        "is_dir": None,
        "files": None,
        "generation": None,
        "bucket": None,
        "observations": 1,
        "first_observed": "2026-02-04T12:00:00Z",
        "observed": "2026-02-04T12:00:00Z",
        "matched": "2026-02-04T12:00:01Z",
        "workflow": "w.toml",
        "phases": None,
        "jobs": ["j"],
        "reason": None,
        "concluded": "2026-02-04T12:00:02Z",
        "outcome": "loaded",
        "job": "j",
        "message": None,
        "updated": "2026-02-04T12:00:02Z",
        "last_position": 3,
        "events": 3,
    }


def test_facts_of_an_older_version_do_not_survive() -> None:
    """A new observation without a checksum has no checksum, although the older one had."""
    state = fold(
        recorded("file.observed", {"size": 1, "checksum": "old"}),
        recorded("file.observed", {"size": 2}, at=1),
    )
    assert state.facts == {"size": 2}
    assert file_view(state)["checksum"] is None


def test_a_file_that_no_rule_matched_says_why() -> None:
    """An empty list of jobs is an answer, and its reason is shown."""
    view = file_view(fold(recorded("file.matched", {"jobs": [], "reason": "no rule"})))
    assert (view["jobs"], view["reason"], view["state"]) == ([], "no rule", "observed")


def test_seen_again_after_its_removal_it_is_observed() -> None:
    """A later observation is the last state."""
    removed = recorded("file.removed", at=5)
    assert fold(recorded("file.observed", at=1), removed).state == "removed"
    assert fold(removed, recorded("file.observed", at=6)).state == "observed"
    assert fold(removed, recorded("file.observed", at=4)).state == "removed"
